"""What a converted network needs besides its weights: its diffusion, its mel spectrograms and how it was trained."""

from collections.abc import Mapping

import numpy as np
from ml_collections import ConfigDict

from diffwave_jax.convert.infer import LMNT_DIFFWAVE, SECOND_SASHIMI, Layout
from diffwave_jax.convert.original_config import GU, LMNT, PHILSYN, OriginalConfig, diffusion_fields
from diffwave_jax.diffusion import Diffusion
from diffwave_jax.errors import UserError
from diffwave_jax.generation.samplers.schedule import FAST_VARIANCES
from diffwave_jax.mel import KINDS

VOCODER_RATE = 22050  # of all the originals
FIRST_BAND = 20.0  # of lmnt's, Hz
LAST_BAND = 8000.0  # of Tacotron 2's, Hz


def named(layout: Layout, model: Mapping, original: OriginalConfig) -> str:
    """The network in words: "DiffWave vocoder of lmnt-com/diffwave"."""
    system = {LMNT_DIFFWAVE: LMNT, SECOND_SASHIMI: GU}.get(layout, original.system)
    kind = f"{layout.title} vocoder" if model.get("n_mels") else layout.title
    return f"{kind} of {system}" if system and (system != PHILSYN or model.get("n_mels")) else kind


def sections(layout: Layout, model: Mapping, original: OriginalConfig) -> dict[str, dict]:
    """The fields of the config that are not what they usually are, {section: {field: value}}."""
    is_vocoder = bool(model.get("n_mels"))
    if layout not in (LMNT_DIFFWAVE, SECOND_SASHIMI) and not is_vocoder and original.whole("T") is None:
        return {}
    found: dict[str, dict] = {"diffusion": diffusion_fields(original, f"a {layout.title} of {_size(model)}")}
    if layout is LMNT_DIFFWAVE:
        found |= {"train": _lmnt_training(original), "sample": {"sampler": "ddpm", "clamp": 1.0}}
    if layout is LMNT_DIFFWAVE or is_vocoder:
        rate = original.whole_or(VOCODER_RATE, "sample_rate", "sampling_rate")
        found |= {"data": {"source": "folder", "sample_rate": rate, "classes": (), "length": model["length"]}}
    if is_vocoder:
        found |= {"mel": _lmnt_mel(model, original) if layout is LMNT_DIFFWAVE else _tacotron_mel(model, original)}
        if found["diffusion"]["num_steps"] in (50, 200):  # those that the paper has six steps for
            found["sample"] = found.get("sample", {}) | {"sampler": "fast"}
    return found


def _size(model: Mapping) -> str:
    return f"{model.get('n_layers')} layers"


def _lmnt_training(original: OriginalConfig) -> dict:
    return {"loss": "l1", "batch_size": max(1, original.whole_or(16, "batch_size"))}


def _lmnt_mel(model: Mapping, original: OriginalConfig) -> dict:
    """Others keep lmnt's network and its tensors' names, but not its mels: their files do not say which."""
    kind = original.values.get("mel_kind", "lmnt" if original.system == LMNT else None)
    if kind not in KINDS:
        raise UserError(
            "the file has lmnt's tensors without its `params`, so nothing says which mels it takes; give --config with "
            f'"mel_kind", one of {", ".join(KINDS)}, beside T, beta_0 and beta_T'
        )
    if kind != "lmnt":
        return _tacotron_mel(model, original)
    hop, n_fft = original.whole_or(256, "hop_samples"), original.whole_or(1024, "n_fft")
    return {"kind": "lmnt", "n_fft": n_fft, "hop": hop, "window": 4 * hop, "fmin": FIRST_BAND, "fmax": 0.0}


def _tacotron_mel(model: Mapping, original: OriginalConfig) -> dict:
    hop = int(np.prod(model.get("upsample", (16, 16))))
    return {
        "kind": "tacotron",
        "n_fft": original.whole_or(1024, "filter_length", "n_fft"),
        "hop": hop,
        "window": original.whole_or(1024, "win_length"),
        "fmin": original.number_or(0.0, "mel_fmin"),
        "fmax": original.number_or(LAST_BAND, "mel_fmax"),
    }


def lmnt_params(config: ConfigDict, learning_rate: float) -> dict:
    """lmnt-com/diffwave's `params` for one of our configs."""
    model, mel = config.model, config.mel
    return {
        "batch_size": config.train.batch_size,
        "learning_rate": learning_rate,
        "max_grad_norm": config.train.clip_norm or None,
        "sample_rate": config.data.sample_rate,
        "n_mels": model.n_mels or 80,
        "n_fft": mel.n_fft,
        "hop_samples": mel.hop,
        "crop_mel_frames": max(1, model.length // mel.hop),
        "residual_layers": model.n_layers,
        "residual_channels": model.channels,
        "dilation_cycle_length": model.dilation_cycle,
        "unconditional": not model.n_mels,
        "noise_schedule": Diffusion.from_config(config.diffusion).beta.tolist(),
        "inference_noise_schedule": list(FAST_VARIANCES[1]),
        "audio_len": model.length,
    }
