"""Evaluates spoken digits: python evaluate.py SAMPLES_DIR [--reference sc09], or --checkpoint to sample first.

python evaluate.py samples                                        FSDD as reference and the bundled classifier: offline
python evaluate.py samples --reference sc09 --archive speech_commands_v0.02.tar.gz
python evaluate.py --checkpoint runs/digits --n 1000
python evaluate.py --checkpoint runs/sashimi_ar --n 10240 --rejection        leaves out what the model finds improbable
python evaluate.py --checkpoint runs/sashimi_ar --nll                        bits a sample of the test split instead
python evaluate.py --checkpoint runs/vocoder --copy recordings               a vocoder's copies, beside Griffin-Lim's

The table is printed, and written with its data and a picture into --out.
"""

import argparse
import contextlib
import json
import sys
from pathlib import Path

from tqdm import tqdm

import diffwave_jax
from diffwave_jax import cli
from diffwave_jax.allocator import keep_freed_memory
from diffwave_jax.errors import UserError
from diffwave_jax.evaluation import metrics
from diffwave_jax.evaluation.clips import Clips, draw_clips, read_folder, sample_clips
from diffwave_jax.evaluation.copying import CopyReport, evaluate_copies
from diffwave_jax.evaluation.recognition import Recogniser, load_recogniser
from diffwave_jax.evaluation.reference import load_reference
from diffwave_jax.evaluation.rejection import rejected
from diffwave_jax.evaluation.run import evaluate
from diffwave_jax.evaluation.scores import PROTOCOLS
from diffwave_jax.files import complete, make_folder
from diffwave_jax.generation.autoregressive_generator import AutoregressiveGenerator
from diffwave_jax.generation.loading import Model, load

TABLE, DATA = "likelihood.txt", "likelihood.json"
TRAINED = Path("runs/classifier")  # where docs/evaluation.md trains the classifier of 16 kHz digits


def main(options: argparse.Namespace) -> None:
    """Gets the clips, scores them and prints the table; or judges recordings, with --nll, or copies them."""
    if options.copy:
        print(copy_synthesis(options).table())
        return
    if options.nll:
        judge_recordings(options)
        return
    recogniser = load_classifier(options)
    with cli.DownloadBar() as download, progress_bar("reference") as progress:
        reference = load_reference(options.reference, recogniser, options.archive, progress, download.show)
    clips = get_clips(options, recogniser)
    if options.rejection:
        probabilities = recogniser(clips.audio).probabilities
        clips = rejected(clips, lambda rows: metrics.inception_score(probabilities[rows]))
    with progress_bar("listening") as progress:
        report = evaluate(
            clips,
            reference,
            recogniser,
            options.out,
            protocol=options.protocol,
            num_resamples=options.resamples,
            progress=progress,
        )
    print(report.table())


def copy_synthesis(options: argparse.Namespace) -> CopyReport:
    """How well a vocoder copies recordings."""
    model, recogniser = load_model(options), load_recogniser(options.classifier)
    if isinstance(model, AutoregressiveGenerator):
        raise UserError("--copy is for vocoders: an autoregressive model takes no mel spectrograms")
    with progress_bar("copying") as progress:
        return evaluate_copies(model, options.copy, recogniser, options.out, options.seed, progress)


def load_classifier(options: argparse.Namespace) -> Recogniser:
    """The classifier asked for, or the one that suits the reference."""
    if options.classifier or options.reference != "sc09":
        return load_recogniser(options.classifier)
    if not TRAINED.is_dir():
        raise UserError(
            f"no classifier in {TRAINED}: train it first (python -m diffwave_jax train --config classifier "
            f"--workdir {TRAINED}), or give --classifier"
        )
    return load_recogniser(TRAINED)


def get_clips(options: argparse.Namespace, recogniser: Recogniser) -> Clips:
    """Clips from the folder or the model that the command line names."""
    if options.folder:
        with progress_bar("reading") as progress:
            return read_folder(options.folder, recogniser, progress)
    model = load_model(options)
    if options.rejection and not isinstance(model, AutoregressiveGenerator):
        raise UserError(
            "--rejection is for autoregressive models: a diffusion model does not know its clips' likelihood"
        )
    with progress_bar("sampling") as progress:
        if isinstance(model, AutoregressiveGenerator):
            return draw_clips(model, options.n, options.seed, recogniser, progress)
        return sample_clips(model, options.n, options.seed, recogniser, progress)


def load_model(options: argparse.Namespace) -> Model:
    """The model that the command line names."""
    if options.checkpoint:
        return load(options.checkpoint)
    with cli.DownloadBar() as bar:
        return diffwave_jax.load_pretrained(options.pretrained, on_progress=bar.show)


def judge_recordings(options: argparse.Namespace) -> None:
    """Prints and writes the likelihood of the test split of the data that the model was trained on, or of --archive."""
    from diffwave_jax.data import open_dataset  # brings TFDS, which other evaluations need not wait for
    from diffwave_jax.evaluation import likelihood

    model = load_model(options)
    if not isinstance(model, AutoregressiveGenerator):
        raise UserError(
            f"--nll is for autoregressive models: {options.checkpoint or options.pretrained} holds a diffusion model, "
            "which does not say how probable a recording is"
        )
    make_folder(options.out)
    data = model.config.data.copy_and_resolve_references()
    data.archive = options.archive or data.archive
    with cli.DownloadBar() as download, progress_bar("preparing") as progress:
        dataset = open_dataset(data, "test", progress=progress, on_download=download.show)
    with progress_bar("judging") as progress:
        report = likelihood.measure(model, dataset, data, progress)
    for name, text in ((DATA, json.dumps(report.to_dict(), indent=2)), (TABLE, report.table())):
        with complete(options.out / name) as partial:
            partial.write_text(text + "\n")
    print(report.table())


@contextlib.contextmanager
def progress_bar(name: str):
    """Gives a callback (done, total) that moves a bar on a terminal, which goes away at the end."""
    with tqdm(desc=name, leave=False, disable=not sys.stderr.isatty()) as bar:

        def show(done, total):
            bar.total = total
            bar.update(done - bar.n)

        yield show


def resamples(text: str) -> int:
    """A number that gives an interval, or 0."""
    if not text.isdigit() or int(text) == 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of resamples; write 0, or 2 or more")
    return int(text)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.ArgumentParser(__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("folder", metavar="SAMPLES_DIR", type=Path, nargs="?", help="WAV files of any sample rate")
    what.add_argument("--checkpoint", metavar="DIR", type=Path, help="a run to sample from")
    what.add_argument("--pretrained", metavar="NAME", help="a released model to sample from")
    parser.add_argument("--n", type=int, default=1000, help="clips to sample (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling (0)")
    parser.add_argument("--reference", default="fsdd", help="real speech: sc09, fsdd or an archive's path (fsdd)")
    parser.add_argument("--archive", default="", help="where the data lies (sc09: downloaded; fsdd: bundled)")
    parser.add_argument("--classifier", metavar="DIR", help=f"a classifier's run (sc09: {TRAINED}; else: bundled)")
    parser.add_argument("--protocol", choices=PROTOCOLS, default=PROTOCOLS[0], help="whose definitions (the papers')")
    parser.add_argument("--resamples", type=resamples, default=200, help="of the bootstrap; 0 for no intervals (200)")
    parser.add_argument("--nll", action="store_true", help="judge the test split of the model's data instead")
    parser.add_argument("--rejection", action="store_true", help="keep the clips of middle likelihood, as the papers")
    parser.add_argument("--copy", metavar="PATH", type=Path, help="recordings for a vocoder to copy: file or folder")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("evaluation"), help="for the results")
    options = parser.parse_args(arguments)
    if options.folder and (options.nll or options.rejection or options.copy):
        parser.error("--nll, --rejection and --copy go with --checkpoint or --pretrained")
    if options.nll and options.rejection:
        parser.error("--nll makes no clips that --rejection could leave out")
    return options


def command() -> None:
    """Runs on the process's command line."""
    keep_freed_memory()
    sys.exit(cli.guard(main, parse(sys.argv[1:])))
