"""The card of a model on the Hub: what its config says of it, how it is used, and how good it was found."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ml_collections import ConfigDict

from diffwave_jax.errors import UserError
from diffwave_jax.generation.choices import class_names, speaker_names

NETWORKS = {
    "diffwave": "[DiffWave](https://arxiv.org/abs/2009.09761)",
    "sashimi": "[SaShiMi](https://arxiv.org/abs/2202.09729) as a diffusion model",
    "sashimi_ar": "[SaShiMi](https://arxiv.org/abs/2202.09729), which predicts audio sample by sample",
}
USE = """## Use

```python
import diffwave_jax  # with the extra hub

model = diffwave_jax.load_pretrained("hf://{name}")
clips = model.generate(4, seed=0)  # (4, {length}) float32 at {sample_rate} Hz
```"""
METRICS = {
    "fid": "FID",
    "is": "IS",
    "mis": "mIS",
    "am": "AM",
    "ndb": "NDB/K",
    "accuracy": "accuracy",
    "nearest": "nearest",
}

VOCODER_USE = """## Use

```python
import diffwave_jax  # with the extra hub

model = diffwave_jax.load_pretrained("hf://{name}")
mel = model.mel(audio, rate)  # of a recording (n,) at that rate
copy = model.vocode(mel, seed=0)  # float32 at {sample_rate} Hz
```"""


def model_card(
    name: str, config: ConfigDict, num_parameters: int, *, evaluation: Path | None = None, licence: str | None = None
) -> str:
    """The text of a card, Markdown with the metadata that the Hub reads.

    Args:
      name: `owner/name` of the repository.
      config: the model's.
      num_parameters: its number of weights.
      evaluation: an `evaluation.json` that `evaluate.py` wrote; None for a card without scores.
      licence: of the weights, by the Hub's identifier, as `cc-by-sa-4.0`.

    Raises:
      UserError: the evaluation cannot be read.
    """
    use = VOCODER_USE if config.model.get("n_mels") else USE
    parts = [
        _metadata(config.model.name, licence),
        f"# {name}\n\n{NETWORKS[config.model.name]}, for JAX: {_facts(config, num_parameters)}",
        use.format(name=name, length=config.model.length, sample_rate=config.data.sample_rate),
        _training(config),
    ]
    if evaluation is not None:
        parts.append(_scores(evaluation))
    return "\n\n".join(parts) + "\n"


def _metadata(network: str, licence: str | None) -> str:
    tags = ["audio", "speech", "jax", "flax", network, *(["diffusion"] if network != "sashimi_ar" else ["s4"])]
    lines = ["---", "library_name: diffwave_jax", *([f"license: {licence}"] if licence else []), "tags:"]
    return "\n".join([*lines, *(f"- {tag}" for tag in tags), "---"])


def _facts(config: ConfigDict, num_parameters: int) -> str:
    seconds = config.model.length / config.data.sample_rate
    makes = f"audio of {config.model.n_mels} mel bands" if config.model.get("n_mels") else f"clips of {seconds:.2f} s"
    facts = [f"{num_parameters:,} weights, {makes} at {config.data.sample_rate} Hz."]
    if config.model.get("n_classes"):
        facts.append(f"Classes: {', '.join(class_names(config))}.")
    if config.model.get("n_speakers"):
        facts.append(f"Speakers: {', '.join(speaker_names(config))}.")
    return " ".join(facts)


def _training(config: ConfigDict) -> str:
    train, fields = config.train, config.model.to_dict()
    network = ", ".join(f"{name} {value}" for name, value in fields.items() if name != "name" and value is not None)
    return (
        f"## Training\n\nData: {config.data.source}. Up to {train.num_steps:,} steps of {train.batch_size} clips, "
        f"learning rate {train.learning_rate:g}. The network: {network}. The whole config is in `model.safetensors`."
    )


def _scores(path: Path) -> str:
    try:
        found = json.loads(path.read_bytes())
        rows = found["scores"]
        table = [_row(name, [_cell(row.get(metric)) for metric in METRICS]) for name, row in rows.items()]
        facts = f"{found['clips']} clips; reference: {found['reference']}; classifier: {found['classifier']}."
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no evaluation.json that can be read: evaluate again, or leave it out") from error
    head = [_row("clips", METRICS.values()), _row("---", ["---"] * len(METRICS))]
    return "\n".join([f"## Evaluation\n\n{facts}\n", *head, *table])


def _row(name: str, cells: Iterable[str]) -> str:
    return f"| {' | '.join([name, *cells])} |"


def _cell(score: Mapping | None) -> str:
    return "" if score is None else f"{score['value']:.3g}"
