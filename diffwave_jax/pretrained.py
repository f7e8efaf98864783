"""The released models by name: downloaded once, converted, and kept in the user's cache folder."""

import dataclasses
import json
from contextlib import AbstractContextManager
from pathlib import Path

from filelock import FileLock

from diffwave_jax import checkpoint, hub
from diffwave_jax.cache import CACHE_VARIABLE, cache_folder
from diffwave_jax.download import OnProgress, Unreachable, download, sha256
from diffwave_jax.errors import UserError
from diffwave_jax.files import complete
from diffwave_jax.generation.loading import Model, load

RELEASES = "https://github.com/RF5/DiffWave-unconditional/releases/download"
RF5_SASHIMI = "https://github.com/RF5/simple-sashimi/releases/download"
STATE_SPACES = "https://huggingface.co/krandiash/sashimi-release/resolve/main/checkpoints"


@dataclasses.dataclass(frozen=True)
class Release:
    """A released PyTorch checkpoint.

    Attributes:
      url: where it is.
      makes: what the model makes, in words.
      sample_rate: of what it makes, in Hz.
      weights: their number, None while unknown.
      size: its bytes, None while unknown.
      sha256: of the file, None while unknown: then that of the first download counts.
      dt: see `diffwave_jax.convert.from_torch.read_torch`.
    """

    url: str
    makes: str = "spoken digits"
    sample_rate: int = 16000
    weights: int | None = None
    size: int | None = None
    sha256: str | None = None
    dt: str | None = None


RELEASED = {
    "diffwave_sc09": Release(f"{RELEASES}/v0.1/diffwave_sc09_1M_steps.pt", weights=24_071_681),
    "sashimi_diffwave_500k_sc09": Release(f"{RELEASES}/v0.2/sashimi_sc09_500k_steps.pt", weights=23_478_785),
    "sashimi_diffwave_800k_sc09": Release(f"{RELEASES}/v0.2/sashimi_sc09_800k_steps.pt", weights=23_478_785),
    "sashimi_ar_1100k_sc09": Release(f"{RF5_SASHIMI}/v1.0/ckpt_01100000.pt", weights=4_765_312),
    # Those of version 4 there were converted from version 3, whose step sizes are exponentials.
    "sashimi_ar_sc09": Release(f"{STATE_SPACES}/sashimi_sc09.pt", dt="exp"),
    "sashimi_ar_sc09_unet": Release(f"{STATE_SPACES}/sashimi_sc09_unet.pt", weights=6_820_512, dt="exp"),
    "sashimi_ar_youtubemix": Release(f"{STATE_SPACES}/sashimi_youtubemix.pt", "piano music", dt="exp"),
    "diffwave_ljspeech": Release(
        "https://lmnt.com/assets/diffwave/diffwave-ljspeech-22kHz-1000578.pt",
        "speech from mel spectrograms",
        sample_rate=22050,
        sha256="d415d2117bb0bba3999afabdd67ed11d9e43400af26193a451d112e2560821a8",
    ),
}


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A model that `load_pretrained` knows by name.

    Attributes:
      name: its name.
      weights: their number, None while unknown.
      sample_rate: samples per second.
      licence: of the weights; None where their authors name none.
      makes: what it makes, in words.
    """

    name: str
    weights: int | None
    sample_rate: int
    licence: str | None
    makes: str

    def __str__(self) -> str:
        size = "size unknown" if self.weights is None else f"{self.weights / 1e6:.1f} M weights"
        return f"{self.name}: {self.makes}; {size}, {self.sample_rate} Hz, licence {self.licence or 'not stated'}"


BUNDLED_LICENCE = "CC BY-SA 4.0"  # that of the recordings which all of them learned from
BUNDLED = {  # folders of `bundled/`: the models that come with the package
    model.name: model
    for model in (
        Pretrained("digits", 2_485_721, 8000, BUNDLED_LICENCE, "a spoken digit of your choice in one of six voices"),
        Pretrained(
            "digits_fast", 2_485_721, 8000, BUNDLED_LICENCE, "the same in 4 network evaluations a clip, not as clear"
        ),
        Pretrained("vocoder_8k", 1_770_569, 8000, BUNDLED_LICENCE, "speech from mel spectrograms"),
    )
}
USUAL = "digits"
USUAL_VOCODER = "vocoder_8k"


def load_pretrained(name: str = USUAL, *, on_progress: OnProgress | None = None) -> Model:
    """A released model, ready to generate: an autoregressive one where its name has `_ar`, else a diffusion model.

    The original's diffusion models are sampled in 25 steps of "dpm++" unless told otherwise; `sampler="ddpm"` takes
    their own 200 steps.

    Args:
      name: a name of `list_pretrained`, by default the first; or `hf://owner/name`
        for a model on the Hugging Face Hub, with `@revision` or without (extra `hub`).
      on_progress: called with the bytes done and the bytes in all while a model is downloaded.

    Raises:
      UserError: an unknown name; not downloaded yet and the download fails.
    """
    return load(pretrained_folder(name, on_progress=on_progress))


def list_pretrained() -> list[Pretrained]:
    """The models that `load_pretrained` knows by name, the bundled ones first."""
    released = [Pretrained(name, one.weights, one.sample_rate, None, one.makes) for name, one in RELEASED.items()]
    return [*BUNDLED.values(), *released]


def pretrained_folder(name: str = USUAL, *, on_progress: OnProgress | None = None) -> Path:
    """The checkpoint folder, or the one file, of a released model, made if need be; see `load_pretrained`."""
    if hub.is_address(name):
        return hub.fetch(name)
    if name in BUNDLED:
        return Path(__file__).parent / "bundled" / name
    if name not in RELEASED:
        raise UserError(f"no pretrained model is called {name!r}: there are {', '.join([*BUNDLED, *RELEASED])}")
    folder = cache_folder() / "pretrained" / name
    converted = folder / "converted"
    if not _is_complete(converted):
        with _locked(folder):
            if not _is_complete(converted):  # another process may have been faster
                _convert(torch_file(RELEASED[name], folder, on_progress=on_progress), converted, RELEASED[name])
    return converted


def found(model: str, *, on_progress: OnProgress | None = None) -> Path:
    """The checkpoint that a path means, or else the name of a released model; see `load_pretrained`."""
    return Path(model) if Path(model).exists() else pretrained_folder(model, on_progress=on_progress)


def torch_file(release: Release, folder: Path, *, on_progress: OnProgress | None = None) -> Path:
    """The released file in `folder`, downloaded if it is not there, its size and SHA-256 recorded beside it.

    Raises:
      UserError: it cannot be downloaded, or it is not what it should be or what it was.
    """
    file = folder / release.url.rsplit("/", 1)[1]
    record = file.with_name(file.name + ".json")
    if not file.exists():
        record.unlink(missing_ok=True)
        _download(release, file, on_progress)
    if not record.exists():
        with complete(record) as partial:
            partial.write_text(json.dumps({"url": release.url, **_facts(file)}, indent=1))
    elif wrong := _mismatch(file, _recorded(record)):
        raise UserError(f"{file} has changed since its download ({wrong}): remove it, and it is downloaded again")
    return file


def _convert(file: Path, run: Path, release: Release) -> None:
    """Makes a released file a run of ours."""
    from diffwave_jax.convert.from_torch import read_torch  # which bundled models do not wait for
    from diffwave_jax.convert.ours import write_ours

    write_ours(run, read_torch(file, dt=release.dt, optimizer=False))


def _recorded(record: Path) -> dict:
    """What a record says of its file."""
    try:
        said = json.loads(record.read_bytes())
        return {"size": said["size"], "sha256": said["sha256"]}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(
            f"{record} is damaged: remove it and the file beside it, and the model is downloaded again"
        ) from error


def _download(release: Release, file: Path, on_progress: OnProgress | None) -> None:
    from diffwave_jax.convert.torch_reader import open_checkpoint

    def check(part: Path) -> None:
        if wrong := _mismatch(part, dataclasses.asdict(release)):
            raise UserError(f"{release.url} gave another file than the released one ({wrong}): try again later")
        try:
            with open_checkpoint(part):
                pass
        except UserError as error:
            raise UserError(f"{release.url} did not give a PyTorch checkpoint: {error}") from error

    try:
        download(release.url, file, check=check, on_progress=on_progress)
    except Unreachable as error:
        raise UserError(
            f"{error}; with the file fetched by hand: python -m diffwave_jax convert {file.name} DIR, then "
            "--checkpoint DIR, or diffwave_jax.load(DIR)"
        ) from error


def _facts(file: Path) -> dict:
    return {"size": file.stat().st_size, "sha256": sha256(file)}


def _mismatch(file: Path, expected: dict) -> str | None:
    """Which of `size` and `sha256` is not as expected; what is expected may be None, that is, unknown."""
    for what, found in _facts(file).items():
        if expected[what] not in (None, found):
            return f"{what} {found}, expected {expected[what]}"
    return None


def _locked(folder: Path) -> AbstractContextManager:
    """The folder, made if need be, for this process alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / "lock").acquire()
    except OSError as error:
        raise UserError(f"the cache folder {folder} cannot be used ({error.strerror}): set {CACHE_VARIABLE}") from error


def _is_complete(run: Path) -> bool:
    return run.is_dir() and bool(checkpoint.steps(run))
