"""Opens a page to play with a model: python -m diffwave_jax demo [--checkpoint RUN | --pretrained NAME].

The page is at http://127.0.0.1:7860, for this machine alone unless --host says otherwise. Needs the extra `demo`.
"""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

import diffwave_jax
from diffwave_jax import cli
from diffwave_jax.errors import UserError
from diffwave_jax.generation.loading import Model


def main(options: argparse.Namespace) -> None:
    """Serves the page until interrupted."""
    if not importlib.util.find_spec("gradio"):
        raise UserError("the page needs the package gradio: pip install 'diffwave_jax[demo]', or pip install gradio")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # it would tell its makers
    from diffwave_jax.demo import page

    model, source = load(options)
    print(f"open http://{options.host}:{options.port} in a browser; Ctrl+C ends", flush=True)
    place = {"server_name": options.host, "server_port": options.port, "inbrowser": options.open}
    try:
        page.page(model, source).launch(**place, share=False, quiet=True, **page.LOOK)
    except OSError as error:
        raise UserError(f"no page can be served at {options.host}, port {options.port} ({error})") from error


def load(options: argparse.Namespace) -> tuple[Model, list[str]]:
    """The model asked for, the bundled one if none is, and the words that name it on a command line."""
    if options.checkpoint:
        return diffwave_jax.load(options.checkpoint), ["--checkpoint", str(options.checkpoint)]
    if not options.pretrained:
        return diffwave_jax.load_pretrained(), []
    with cli.DownloadBar() as bar:
        model = diffwave_jax.load_pretrained(options.pretrained, on_progress=bar.show)
    return model, ["--pretrained", options.pretrained]


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.ArgumentParser(__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--checkpoint", metavar="DIR", type=Path, help="a run's folder, one checkpoint, or one file")
    which.add_argument("--pretrained", metavar="NAME", help="a released model or hf://OWNER/NAME (the bundled one)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="the address to serve at; 0.0.0.0 for everybody (127.0.0.1)"
    )
    parser.add_argument("--port", type=int, default=7860, help="the port (7860)")
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    return parser.parse_args(arguments)


def command() -> None:
    """Runs on the process's command line."""
    sys.exit(cli.guard(main, parse(sys.argv[1:])))
