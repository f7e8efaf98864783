"""Evaluates spoken digits: python evaluate.py SAMPLES_DIR [--reference sc09], or --checkpoint to sample first.

The table is printed, and written with the data and a picture into --out.
"""

import contextlib
import sys
from pathlib import Path

import numpy as np
from absl import flags
from tqdm import tqdm

import diffwave_jax
from diffwave_jax import cli
from diffwave_jax.errors import UserError
from diffwave_jax.evaluation.clips import Clips, read_folder
from diffwave_jax.evaluation.recognition import Recogniser, load_recogniser
from diffwave_jax.evaluation.reference import load_reference
from diffwave_jax.evaluation.run import evaluate
from diffwave_jax.evaluation.scores import PROTOCOLS

TRAINED = Path("runs/classifier")  # where docs/evaluation.md trains the classifier of 16 kHz digits

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "A run or checkpoint to sample from, instead of SAMPLES_DIR.")
PRETRAINED = flags.DEFINE_string("pretrained", None, "A released model to sample from, instead of SAMPLES_DIR.")
NUM_CLIPS = flags.DEFINE_integer("n", 1000, "Clips to sample.", lower_bound=2)
SEED = flags.DEFINE_integer("seed", 0, "Of the sampling.")
REFERENCE = flags.DEFINE_string(
    "reference", "fsdd", "Real speech: sc09, fsdd, or an archive in Speech Commands' layout."
)
ARCHIVE = flags.DEFINE_string("archive", "", "Where --reference lies, if it is neither bundled nor to be downloaded.")
CLASSIFIER = flags.DEFINE_string(
    "classifier", None, f"A trained classifier's run; none for the bundled one, or for sc09 {TRAINED}."
)
PROTOCOL = flags.DEFINE_enum("protocol", "definition", PROTOCOLS, "The papers' definitions, or the published script's.")
RESAMPLES = flags.DEFINE_integer(
    "resamples", 200, "Bootstrap resamples for the 95 % intervals; 0 for none.", lower_bound=0
)
OUT = flags.DEFINE_string("out", "evaluation", "Folder for the results.")


def main(argv):
    """Gets the clips, scores them and prints the table."""
    if len(argv[1:]) + bool(CHECKPOINT.value) + bool(PRETRAINED.value) != 1:
        raise UserError("give one of SAMPLES_DIR, --checkpoint and --pretrained: what is to be evaluated?")
    recogniser = load_classifier()
    clips = get_clips(argv[1:], recogniser)
    with progress_bar("reference") as progress:
        reference = load_reference(REFERENCE.value, recogniser, ARCHIVE.value, progress)
    out, settings = Path(OUT.value), {"protocol": PROTOCOL.value, "num_resamples": RESAMPLES.value}
    with progress_bar("listening") as progress:
        report = evaluate(clips, reference, recogniser, out, progress=progress, **settings)
    print(report.table())


def load_classifier() -> Recogniser:
    """The classifier asked for, or the one that suits the reference."""
    if CLASSIFIER.value or REFERENCE.value != "sc09":
        return load_recogniser(CLASSIFIER.value)
    if not TRAINED.is_dir():
        raise UserError(
            f"no classifier in {TRAINED}: train it first (python train.py --config configs/classifier.py "
            f"--workdir {TRAINED}), or give --classifier"
        )
    return load_recogniser(TRAINED)


def get_clips(folders: list[str], recogniser: Recogniser) -> Clips:
    """Clips from the one place that the command line names."""
    if folders:
        with progress_bar("reading") as progress:
            return read_folder(Path(folders[0]), recogniser, progress)
    return sample_clips(load_model(), recogniser)


def load_model() -> diffwave_jax.Generator:
    """The model that the command line names."""
    if CHECKPOINT.value:
        return diffwave_jax.load(CHECKPOINT.value)
    with cli.DownloadBar() as bar:
        return diffwave_jax.load_pretrained(PRETRAINED.value, on_progress=bar.show)


def sample_clips(model: diffwave_jax.Generator, recogniser: Recogniser) -> Clips:
    """Clips of a model, by turns of each of its classes."""
    n_classes = model.config.model.n_classes
    labels = np.arange(NUM_CLIPS.value) % n_classes if n_classes else None
    with progress_bar("sampling") as progress:
        settings = {"seed": SEED.value, "digit": range(n_classes) or None, **model.config.sample}
        audio = model.generate(NUM_CLIPS.value, on_step=progress, **settings)
    return Clips(recogniser.fit(audio, model.sample_rate), labels)


@contextlib.contextmanager
def progress_bar(name: str):
    """Gives a callback (done, total) that moves a bar on a terminal, which goes away at the end."""
    with tqdm(desc=name, leave=False, disable=not sys.stderr.isatty()) as bar:

        def show(done, total):
            bar.total = total
            bar.update(done - bar.n)

        yield show


if __name__ == "__main__":
    cli.run(main)
