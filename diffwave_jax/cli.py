"""What the scripts share: clean error lines and progress on the console."""

import argparse
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from absl import app, flags, logging
from tqdm import tqdm

from diffwave_jax.errors import UserError, printable
from diffwave_jax.flag_help import flag_help, in_words
from diffwave_jax.programs import keep_programs
from diffwave_jax.progress import CLIPS, Bar
from diffwave_jax.shipped import config_file

HELP = {"-h", "-help", "--help", "--helpshort", "--helpfull"}
BESIDE_THE_BAR = ("loss", "validation_loss", "clips_per_second")


def run(main: Callable[[list[str]], None]) -> None:
    """Runs a script's `main` with absl flags; a user's mistake becomes one line on stderr and exit status 2."""

    def guarded(argv):
        logging.set_verbosity(logging.WARNING)
        keep_programs()
        try:
            main(argv)
        except UserError as error:
            _fail(error)
        except KeyboardInterrupt:
            sys.exit("stopped; the same command continues from what is saved")

    sys.argv[:] = _with_config(
        spelled(sys.argv, "-", "_")
    )  # in place: ml_collections looks for a config's fields there
    app.run(guarded, flags_parser=lambda argv: _parse(argv, main.__module__))


def _parse(argv: list[str], module: str) -> list[str]:
    """The positional arguments of `argv`; an unknown flag, config file or config field ends in one line."""
    asked_for_help, argv = HELP & set(argv), [word for word in argv if word not in HELP]
    try:
        rest = flags.FLAGS(argv)
        if "config" in flags.FLAGS and flags.FLAGS["config"].value is not None:
            flags.FLAGS["config"].value.to_dict()  # a config file that failed to load says so only when it is used
    except Exception as error:
        line = _config_error(error, argv)
        if line is None:
            raise
        _fail(line)
    if asked_for_help:
        print(flag_help(module))
        sys.exit(0)
    return rest


def _with_config(words: list[str]) -> list[str]:
    """A command line whose `--config NAME` is the file of the config that is meant."""
    words = list(words)
    for place, word in enumerate(words):
        try:
            if word.startswith(("--config=", "-config=")):
                words[place] = f"--config={config_file(word.partition('=')[2])}"
            elif word in ("--config", "-config") and place + 1 < len(words):
                words[place + 1] = config_file(words[place + 1])
        except UserError as error:
            _fail(error)
    return words


def _config_error(error: Exception, argv: list[str]) -> str | None:
    """What is wrong with the command line or the config file it names, in one line; None for a bug of ours."""
    if own := _own_line(error, argv):
        return own
    if isinstance(error, AttributeError | KeyError):
        return _unknown_field(str(error), argv)
    if isinstance(error, OSError):
        return f"the config file cannot be loaded: {str(error).splitlines()[-1].strip()}"
    return " ".join(str(error).split()) if isinstance(error, flags.Error | TypeError | ValueError | UserError) else None


def _unknown_field(said: str, argv: list[str]) -> str:
    """The line for what ml_collections says of a field that the config does not have."""
    field = re.search(r"\w+", said)
    asked = [argument.partition("=")[0].removeprefix("--config.") for argument in argv]
    name = next((one for one in asked if field and field[0] in one.split(".")), said)
    meant = re.search(r'Did you mean "(\w+)"', said)
    hint = f"did you mean {meant[1]}?" if meant else "diffwave_jax/config.py and the model's config list them all"
    return f"unknown config field {name!r}: {hint}"


def _own_line(error: BaseException | None, argv: list[str]) -> str | None:
    """An error in a config file itself, or in what led to this error, with its line in that file."""
    while error is not None:
        if isinstance(error, SyntaxError):
            return f"{error.filename}, line {error.lineno}: {error.msg}"
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if any(argument.split("=")[-1].split(":")[0] == frame.filename for argument in argv):
                kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
                return f"{frame.filename}, line {frame.lineno}: {kind}{error}"
        error = error.__cause__ or error.__context__
    return None


def spelled(words: Sequence[str], found: str, meant: str) -> list[str]:
    """A command line whose options are written with one character for another, as in `--num_processes`."""
    end = list(words).index("--") if "--" in words else len(words)
    options = (word.partition("=") if word.startswith("--") else ("", "", word) for word in words[:end])
    return ["".join((name[:2] + name[2:].replace(found, meant), *rest)) for name, *rest in options] + list(words[end:])


def command_line(arguments: Sequence[str]) -> str:
    """The running command with other arguments, as one would type it."""
    name = Path(sys.argv[0]).name
    return " ".join([f"python {name}" if name.endswith(".py") else name, shlex.join(arguments)]).strip()


def guard(main: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> None:
    """Runs a script's `main` with parsed options; errors as `run`, and a clean end when interrupted."""
    logging.set_verbosity(logging.ERROR)
    keep_programs()
    try:
        main(options)
    except UserError as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")


def positive(text: str) -> int:
    """A whole number from 1 on, for an option."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


class ArgumentParser(argparse.ArgumentParser):
    """A parser whose complaint is one line, and that takes `--batch_size` for `--batch-size`.

    Args:
      text: what `--help` says of the command.
    """

    def __init__(self, text: str | None):
        super().__init__(description=in_words(text or ""), formatter_class=argparse.RawDescriptionHelpFormatter)

    def parse_args(self, args, namespace=None):
        """The options in a list of words."""
        return super().parse_args(spelled(args, "_", "-"), namespace)

    def error(self, message: str) -> NoReturn:
        """Ends the script."""
        _fail(f"{message}; --help lists the options")


def _fail(error: object) -> NoReturn:
    print(f"error: {printable(error)}", file=sys.stderr)
    sys.exit(2)


class Console:
    """Shows a training run: a progress bar on a terminal, plain lines in a log.

    Args:
      total: steps of the run.
    """

    def __init__(self, total: int):
        self._total = total
        self._bar: tqdm | None = None  # comes with the first step, below the bar of the preparation
        self._shown: dict[str, str] = {}
        self._status = Bar("")
        self._preparation = ClipBar()
        self._download = DownloadBar()

    def doing(self, what: str) -> None:
        """Says what comes now, until the next step or bar."""
        self._status.doing(what)

    def message(self, text: str) -> None:
        """Prints one line above the bar."""
        tqdm.write(printable(text), file=sys.stderr)

    def step(self, step: int) -> None:
        """Moves the bar."""
        if not sys.stderr.isatty():
            return
        self._status.close()
        if self._bar is None:
            self._bar = tqdm(total=self._total, unit="step", dynamic_ncols=True)
        if self._bar.n == 0:
            self._bar.initial = step  # where a run continues; the bar's speed is that of the steps from here on
        self._bar.update(step - self._bar.n)

    def downloading(self, done: int, total: int | None) -> None:
        """Shows a bar, or a line now and then, until the data is downloaded."""
        self._download.show(done, total)
        if done == total:
            self._download.close()

    def preparing(self, done: int, total: int) -> None:
        """Shows a bar, or a line now and then, until all clips are prepared."""
        self._preparation.show(done, total)
        if done == total:
            self._preparation.close()

    def end(self) -> None:
        """Leaves the bars as they are."""
        self._status.close()
        self._preparation.close()
        self._download.close()
        if self._bar is not None:
            self._bar.close()

    def clips(self, step: int, audio: np.ndarray, sample_rate: int) -> None:
        """Nothing that a console could show."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Shows the values beside the bar, or as a line."""
        shown = {name: f"{value:.4g}" for name, value in values.items()}
        if self._bar is not None:
            self._shown |= {name: shown[name] for name in BESIDE_THE_BAR if name in shown}
            self._bar.set_postfix(self._shown)
        else:
            print(f"step {step}", *(f"{name} {value}" for name, value in shown.items()), sep="  ", flush=True)


class ClipBar(Bar):
    """Shows what is being done, how many clips are done, how many a second, and the time left."""

    def __init__(self):
        super().__init__(CLIPS, unit="clip", smoothing=0.05)

    def show_steps(self, clips: int) -> Callable[[int, int], None]:
        """What to call with (steps done, steps in all) of as many clips made together."""
        return lambda done, total: self.show(clips * done / total, clips)


class DownloadBar(Bar):
    """Shows how far a download is."""

    def __init__(self):
        super().__init__("{n_fmt}/{total_fmt}, {rate_fmt},", unit="B", unit_scale=True)
