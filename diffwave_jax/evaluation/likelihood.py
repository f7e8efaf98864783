"""How probable a model finds recordings it has not seen: their negative log-likelihood in bits a sample."""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from ml_collections import ConfigDict

from diffwave_jax.data import Dataset
from diffwave_jax.digits import DIGITS
from diffwave_jax.evaluation import metrics
from diffwave_jax.evaluation.recognition import Progress
from diffwave_jax.evaluation.scores import Score
from diffwave_jax.generation.autoregressive_generator import AutoregressiveGenerator
from diffwave_jax.tokens import encode_recorded

CHUNK = 64  # clips read at a time
RESAMPLES = 200
SOURCE = "Goel et al. 2022, arXiv 2202.09729, and the README of github.com/state-spaces/s4 for the U-Net"
PUBLISHED = {
    "SC09": {"SaShiMi": 1.891, "SaShiMi with U-Net": 1.873},
    "YouTubeMix": {"SaShiMi": 1.294},
    "Beethoven": {"SaShiMi": 0.946},
}


@dataclasses.dataclass(frozen=True)
class LikelihoodReport:
    """What a model makes of the clips of a data set.

    Attributes:
      description: of the model and the data, by name.
      bits: {which samples count: bits a sample}.
      dataset: a name in `PUBLISHED`, None for other data.
    """

    description: Mapping[str, str | int]
    bits: Mapping[str, Score]
    dataset: str | None

    def to_dict(self) -> dict:
        """Plain data."""
        bits = {name: dataclasses.asdict(score) for name, score in self.bits.items()}
        published = {"source": SOURCE, **PUBLISHED[self.dataset]} if self.dataset else {}
        return {**self.description, "bits": bits, "published": published}

    def table(self) -> str:
        """Lines of text, with half the width of 95 % intervals; then the published figures of the same data."""
        lines = [f"{name}: {value}" for name, value in self.description.items()]
        lines += ["", f"{'':28}bits a sample"]
        lines += [f"{name:28}{_cell(score)}" for name, score in self.bits.items()]
        if self.dataset:
            lines += ["", f"published for {self.dataset} ({SOURCE})"]
            lines += [f"{name:28}{value:.3f}" for name, value in PUBLISHED[self.dataset].items()]
        return "\n".join(lines)


def measure(
    model: AutoregressiveGenerator, dataset: Dataset, config: ConfigDict, progress: Progress | None = None
) -> LikelihoodReport:
    """The likelihood of a data set's clips, every token given those before it in its clip, the first given silence.

    Samples weigh alike, whatever clip they are from. Clips are tokens as in training: the codes that scale see each
    clip's recorded part at its own range. Clips longer than the model's are cut.

    Args:
      model: the judge.
      dataset: the clips.
      config: the `data` section that describes them.
      progress: called with (clips done, clips in all).
    """
    nats, counts = _nats(model, dataset, progress)
    bits = {"recorded samples": _bits(nats["recorded"], counts)}
    if np.any(counts < model.length):
        bits["with the zeros after them"] = _bits(nats["all"], np.full(len(counts), model.length))
    description = {
        "model": f"{model.config.model.name}, {model.num_parameters:,} weights, tokens {model.config.model.code}",
        "clips": len(dataset),
        "samples": f"{int(counts.sum()):,} at {dataset.sample_rate:,} Hz",
    }
    return LikelihoodReport(description, bits, published_name(config))


def published_name(data: ConfigDict) -> str | None:
    """Which of the papers' data sets a `data` section describes, None for another; music goes by its archive's name."""
    if data.source == "speech_commands":
        whole = set(data.classes) == set(DIGITS) and (data.sample_rate, data.trim_db, data.rms) == (16000, 0, 0)
        return "SC09" if whole and data.length in (16000, 16001) else None
    plain = data.archive.lower().replace("_", "").replace("-", "")
    return next((name for name in ("YouTubeMix", "Beethoven") if data.windows and name.lower() in plain), None)


def _nats(
    model: AutoregressiveGenerator, dataset: Dataset, progress: Progress | None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Each clip's negative log-likelihood in nats, of its recorded samples and of all, and how many are recorded."""
    recorded_nats, all_nats, counts = [], [], []
    for start in range(0, len(dataset), CHUNK):
        clips = dataset.read(range(start, min(start + CHUNK, len(dataset))))
        audio = clips["audio"][:, : model.length]
        recorded = np.minimum(clips["recorded"], audio.shape[1])
        nats = -model.log_probability(encode_recorded(model.code, audio, recorded)).astype(np.float64)
        is_recorded = np.arange(audio.shape[1]) < recorded[:, None]
        recorded_nats.append((nats * is_recorded).sum(axis=1))
        all_nats.append(nats.sum(axis=1))
        counts.append(recorded)
        if progress:
            progress(start + len(audio), len(dataset))
    nats = {"recorded": np.concatenate(recorded_nats), "all": np.concatenate(all_nats)}
    return nats, np.concatenate(counts)


def _bits(nats: np.ndarray, counts: np.ndarray) -> Score:
    """Bits a sample over all clips, with the bootstrap's interval over clips."""

    def mean(rows: np.ndarray) -> float:
        return float(nats[rows].sum() / counts[rows].sum() / math.log(2))

    everything = np.arange(len(nats))
    if len(nats) < 2:
        return Score(mean(everything))
    return Score(mean(everything), metrics.confidence_interval(mean, len(nats), num_resamples=RESAMPLES))


def _cell(score: Score) -> str:
    half = f" ± {score.interval[1] - score.value:.3f}" if score.interval else ""
    return f"{score.value:.3f}{half}"
