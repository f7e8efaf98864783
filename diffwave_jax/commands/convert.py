"""Converts checkpoints of the original PyTorch code to ours, and back; runs to models in one file, and back.

python convert_torch_ckpt.py CHECKPOINT.pt OUT_DIR
python convert_torch_ckpt.py --to-torch CHECKPOINT_DIR OUT.pt
python convert_torch_ckpt.py CHECKPOINT_DIR OUT.safetensors       one file to hand on
python convert_torch_ckpt.py MODEL.safetensors OUT_DIR            and back to a run
"""

import argparse
import sys
from pathlib import Path

from diffwave_jax import cli, one_file
from diffwave_jax.convert.autoregressive import STEP_SIZES
from diffwave_jax.convert.commands import (
    convert_from_one_file,
    convert_from_torch,
    convert_to_one_file,
    convert_to_torch,
)
from diffwave_jax.tokens import CODES


def main(options: argparse.Namespace) -> None:
    """Converts, and says what was found and where it went."""
    print(*convert(options), sep="\n")


def convert(options: argparse.Namespace) -> list[str]:
    """One conversion."""
    if options.to_torch:
        return convert_to_torch(options.source, options.target, ema=not options.raw_weights)
    if one_file.is_named_so(options.target):
        return convert_to_one_file(options.source, options.target, ema=not options.raw_weights)
    if one_file.is_ours(options.source):
        return convert_from_one_file(options.source, options.target)
    return convert_from_torch(
        options.source,
        options.target,
        per_stage_length=options.per_stage_length,
        optimizer=not options.weights_only,
        dilation_cycle=options.dilation_cycle,
        clip_length=options.length,
        dt=options.dt,
        code=options.code,
        config=options.config,
    )


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("source", help="PyTorch checkpoint (.pt), or a run's folder or one checkpoint of it")
    parser.add_argument("target", help="folder to write; with --to-torch the .pt file; or a .safetensors file")
    parser.add_argument("--to-torch", action="store_true", help="convert ours to PyTorch's")
    parser.add_argument(
        "--raw-weights", action="store_true", help="to PyTorch or to one file: not the averaged (EMA) weights"
    )
    parser.add_argument(
        "--per-stage-length",
        action="store_true",
        help="cut each SaShiMi stage's l_max to its own length: same outputs, cheaper kernels, no optimizer state",
    )
    parser.add_argument("--weights-only", action="store_true", help="leave the optimizer state out")
    parser.add_argument(
        "--length", type=cli.positive, help="samples of a clip (default: what l_max allows; DiffWave 16000)"
    )
    parser.add_argument(
        "--dilation-cycle", type=cli.positive, help="DiffWave's, where its number of layers is not 36 or 30"
    )
    parser.add_argument("--dt", choices=STEP_SIZES, help="of an autoregressive model: what inv_dt means")
    parser.add_argument("--code", choices=CODES, help="of an autoregressive model: how audio became tokens")
    parser.add_argument("--config", metavar="JSON", help="the original's own configuration, where the file lacks it")
    options = parser.parse_args(arguments)
    if options.to_torch:
        for flag in ("per_stage_length", "weights_only", "length", "dilation_cycle", "dt", "code", "config"):
            if getattr(options, flag):
                parser.error(f"--{flag.replace('_', '-')} is not for --to-torch")
    to_one_file = one_file.is_named_so(options.target)
    if options.raw_weights and not (options.to_torch or to_one_file):
        parser.error("--raw-weights goes with --to-torch, or with a target in .safetensors")
    if to_one_file and not Path(options.source).is_dir():
        parser.error(f"no run at {options.source}: a .safetensors file is made of a run; convert to a folder first")
    return options


def command() -> None:
    """Runs on the process's command line."""
    sys.exit(cli.guard(main, parse(sys.argv[1:])))
