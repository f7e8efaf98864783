"""Copy-synthesis: recordings through their mel spectrograms and back, by a vocoder and by Griffin and Lim's method."""

import dataclasses
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import librosa
import numpy as np

from diffwave_jax import recording
from diffwave_jax.data.listing import readable_files
from diffwave_jax.errors import UserError
from diffwave_jax.evaluation.clips import SUFFIXES, label_of
from diffwave_jax.evaluation.recognition import Progress, Recogniser
from diffwave_jax.files import complete, make_folder
from diffwave_jax.generation.generator import Generator
from diffwave_jax.generation.vocoding import front_end
from diffwave_jax.mel import MelFrontEnd

TABLE, DATA = "copies.txt", "copies.json"
RECORDING, VOCODER, GRIFFIN_LIM = "recordings", "vocoder", "Griffin-Lim"


@dataclasses.dataclass(frozen=True)
class CopyScores:
    """How near copies are to their recordings.

    Attributes:
      mel_distance: mean absolute difference of their mels, dB, of the vocoder's own front end.
      stoi: short-time objective intelligibility (Taal et al. 2011), 0 to 1; NaN where no recording is long enough.
      accuracy: share of the words that the classifier hears as they were said; None where that is not known.
    """

    mel_distance: float
    stoi: float
    accuracy: float | None


@dataclasses.dataclass(frozen=True)
class CopyReport:
    """What an evaluation of copies found.

    Attributes:
      description: of the vocoder and the recordings.
      rows: {whose copies: scores}.
    """

    description: dict[str, str | int]
    rows: dict[str, CopyScores]

    def table(self) -> str:
        """Lines of text, one for each kind of copy."""
        lines = [f"{name}: {value}" for name, value in self.description.items()]
        lines += ["", f"{'':14}{'mel distance':>14}{'STOI':>10}{'accuracy':>12}"]
        for name, row in self.rows.items():
            accuracy = "" if row.accuracy is None else f"{100 * row.accuracy:.1f} %"
            lines.append(f"{name:14}{row.mel_distance:>11.2f} dB{row.stoi:>10.3f}{accuracy:>12}")
        return "\n".join(line.rstrip() for line in lines)


def evaluate_copies(
    model: Generator,
    source: Path,
    recogniser: Recogniser,
    folder: Path,
    seed: int = 0,
    progress: Progress | None = None,
) -> CopyReport:
    """Copies recordings by a vocoder, as it usually samples, and by Griffin-Lim from the same mels, and scores both.

    Args:
      model: the vocoder.
      source: a recording, or a folder of them; names or folders may say their digit, see `clips.read_folder`.
      recogniser: hears the copies, where all recordings say their digit.
      folder: for `copies.txt` and `copies.json`.
      seed: of the sampling.
      progress: called with (recordings done, recordings in all).

    Raises:
      UserError: the model is no vocoder, or there is nothing to read.
    """
    mel = front_end(model.config)
    make_folder(folder)
    paths = _paths(source)
    made: dict[str, list[np.ndarray]] = {RECORDING: [], VOCODER: [], GRIFFIN_LIM: []}
    for number, path in enumerate(paths, start=1):
        audio = _read(path, model.sample_rate)
        heard = mel(audio)
        made[RECORDING].append(audio)
        made[VOCODER].append(model.vocode(heard, seed)[0, : len(audio)])
        made[GRIFFIN_LIM].append(mel.griffin_lim(heard, len(audio)))
        if progress:
            progress(number, len(paths))
    labels = [label_of(path, recogniser.classes) for path in paths]
    known = None if None in labels else np.array(labels)
    rows = {name: score(copies, made[RECORDING], mel, known, recogniser) for name, copies in made.items()}
    network = f"{model.config.model.name} {model.fingerprint}"
    report = CopyReport({"vocoder": network, "recordings": len(paths), "mels": mel.words}, rows)
    _write(folder, report)
    return report


def score(
    copies: Sequence[np.ndarray],
    recordings: Sequence[np.ndarray],
    mel: MelFrontEnd,
    labels: np.ndarray | None,
    recogniser: Recogniser,
) -> CopyScores:
    """How near copies (n,) are to their recordings (n,), of as many lengths, at the rate of the mels."""
    pairs = list(zip(copies, recordings, strict=True))
    distances = [mel.distance(mel(copy), mel(original)) for copy, original in pairs]
    clear = [intelligibility(original, copy, mel.sample_rate) for copy, original in pairs]
    accuracy = None
    if labels is not None:
        heard = recogniser(np.stack([recogniser.fit(copy, mel.sample_rate) for copy in copies]))
        accuracy = float(np.mean(heard.logits.argmax(axis=1) == labels))
    known = [value for value in clear if not np.isnan(value)]
    return CopyScores(float(np.mean(distances)), float(np.mean(known)) if known else float("nan"), accuracy)


def intelligibility(original: np.ndarray, copy: np.ndarray, rate: int) -> float:
    """STOI of a copy (n,); NaN where the recording sounds for less than the 0.4 s that it needs."""
    from pystoi import stoi  # here, so that no other evaluation needs it

    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            return float(stoi(original, copy, rate))
        except RuntimeWarning:
            return float("nan")


def _paths(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    names = readable_files(source, SUFFIXES).paths
    if not names:
        raise UserError(f"no audio in {source}: it must hold files ending in {', '.join(SUFFIXES)}")
    return [source / name for name in names]


def _read(path: Path, rate: int) -> np.ndarray:
    try:
        found = recording.read(path)
    except recording.CorruptClipError as error:
        raise UserError(f"{path} cannot be read as audio ({error}): remove it from the folder") from error
    return librosa.resample(found.samples, orig_sr=found.sample_rate, target_sr=rate)


def _write(folder: Path, report: CopyReport) -> None:
    data = {**report.description, "scores": {name: dataclasses.asdict(row) for name, row in report.rows.items()}}
    for name, text in ((DATA, json.dumps(data, indent=2)), (TABLE, report.table())):
        with complete(folder / name) as partial:
            partial.write_text(text + "\n")
