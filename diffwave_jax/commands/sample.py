"""Makes clips: python sample.py --n 16 --out samples [--checkpoint RUN | --pretrained NAME] [--digit 0-9] ...

python sample.py --n 16 --digit 7 --guidance 1.5 --out sevens     sixteen sevens
python sample.py --interpolate 3 8 --n 9 --out between            from seed 3's first clip to seed 8's
python sample.py --denoise noisy.wav --step 25 --out clean        a recording without its noise
"""

import argparse
import re
import sys
from pathlib import Path

import diffwave_jax
from diffwave_jax import cli
from diffwave_jax.distributed import Cluster, joined
from diffwave_jax.errors import printable
from diffwave_jax.generation.generator import DENOISE_STEP, MIX_STEP
from diffwave_jax.generation.loading import load_diffusion
from diffwave_jax.generation.samplers import SAMPLERS
from diffwave_jax.generation.settings import Settings
from diffwave_jax.results import wav
from diffwave_jax.results.collection import FolderReport, OutputOptions, generate_into, save_into


def main(options: argparse.Namespace) -> None:
    """Loads the model, makes the clips, says where they are."""
    work = denoise if options.denoise else interpolate if options.interpolate else generate
    with joined(Cluster(detect=options.distributed)):
        model = load(options)
        with cli.ClipBar() as bar:
            report = work(model, options, bar)
        tell(report)


def load(options: argparse.Namespace) -> diffwave_jax.Generator:
    """The model asked for; the bundled one if none is."""
    if options.checkpoint:
        return load_diffusion(options.checkpoint)
    with cli.DownloadBar() as bar:
        return diffwave_jax.load_pretrained(*([options.pretrained] if options.pretrained else []), on_progress=bar.show)


def generate(model: diffwave_jax.Generator, options: argparse.Namespace, bar: cli.ClipBar) -> FolderReport:
    """Clips from noise."""
    settings, output = settings_of(options, model.config), output_of(options)
    return generate_into(
        options.out, model, options.n, settings, output, batch_size=options.batch_size, on_progress=bar.show
    )


def interpolate(model: diffwave_jax.Generator, options: argparse.Namespace, bar: cli.ClipBar) -> FolderReport:
    """Clips between two others."""
    settings = settings_of(options, model.config).of_clip(0, model.config.model.n_speakers)
    (seed_a, seed_b), step = options.interpolate, MIX_STEP if options.step is None else options.step

    def make():
        return model.interpolate(seed_a, seed_b, options.n, step, settings, on_step=bar.show_steps(options.n))

    origin = {"interpolated_seeds": f"{seed_a} to {seed_b}", "mixed_at_step": step}
    return save_into(options.out, model, options.n, settings, make, output_of(options), origin)


def denoise(model: diffwave_jax.Generator, options: argparse.Namespace, bar: cli.ClipBar) -> FolderReport:
    """A recording without its noise."""
    step = DENOISE_STEP if options.step is None else options.step
    settings = settings_of(options, model.config, start=step)
    recording = wav.read_recording(options.denoise, model.sample_rate, model.length)

    def make():
        return model.denoise(recording[None], step, settings, on_step=bar.show_steps(1))

    origin = {"denoised": options.denoise.name, "from_step": step}
    return save_into(options.out, model, 1, settings, make, output_of(options), origin)


def settings_of(options: argparse.Namespace, config, start: int | None = None) -> Settings:
    """The settings asked for; the model's usual ones where nothing is said."""
    return Settings.for_model(
        config,
        seed=options.seed,
        sampler=options.sampler,
        steps=options.steps,
        eta=options.eta,
        noise_scale=options.noise_scale,
        digit=options.digit,
        speaker=options.speaker,
        guidance=options.guidance,
        guided_steps=options.guided_steps,
        start=start,
    )


def output_of(options: argparse.Namespace) -> OutputOptions:
    """How the clips are put into the folder."""
    return OutputOptions(normalize=options.normalize, overwrite=options.overwrite)


def tell(report: FolderReport) -> None:
    """Prints what is where."""
    clips = "1 clip" if report.clips == 1 else f"{report.clips} clips"
    folder, page = printable(report.gallery.parent), printable(report.gallery)
    print(f"{clips} in {folder} ({report.made} new); to listen, open {page}")
    if report.clipped_samples:
        print(
            f"{report.clipped_samples} samples in {report.clipped_clips} clips lay outside [-1, 1] and were clipped; "
            "--normalize scales such clips instead"
        )


def several(text: str) -> tuple[int | str, ...]:
    """Numbers and names in `7`, `seven`, `0-9`, `1,three,5`; none in `none`."""
    if text == "none":
        return ()
    return tuple(one for part in text.split(",") for one in _span(part))


def _span(part: str) -> tuple[int | str, ...]:
    ends = re.fullmatch(r"(\d+)-(\d+)", part)
    if not ends:
        return (part,)
    low, high = int(ends[1]), int(ends[2])
    if low > high:
        raise argparse.ArgumentTypeError(f"{part!r} counts down; write {high}-{low}")
    return tuple(range(low, high + 1))


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--checkpoint", metavar="DIR", type=Path, help="a run's folder, or one checkpoint of it")
    which.add_argument("--pretrained", metavar="NAME", help="a released model; without either the bundled one")
    parser.add_argument("--n", type=cli.positive, default=16, help="number of clips (16)")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("samples"), help="where they go (samples)")
    parser.add_argument("--seed", type=int, default=0, help="clip i is the same for the same seed (0)")
    parser.add_argument("--sampler", choices=SAMPLERS, help="how to sample (the model's usual way)")
    parser.add_argument("--steps", type=int, help="evaluations of the network (the model's or the sampler's usual)")
    parser.add_argument("--eta", type=float, help="share of fresh noise, 0 to 1, for ddim and dpm++sde")
    parser.add_argument("--noise-scale", type=float, help="factor on fresh noise, 0 to 2: below 1 cleaner, less varied")
    parser.add_argument(
        "--digit", metavar="D", type=several, help="7 or seven, or several that clips take in turn: 0-9, 1,3,5; or none"
    )
    parser.add_argument(
        "--speaker", metavar="NAME", type=several, help="who says it, or several who take turns: george,lucas (all)"
    )
    parser.add_argument("--guidance", type=float, help="how strongly to insist on the digit; 1 for not at all")
    parser.add_argument("--guided-steps", nargs=2, type=int, metavar=("LOW", "HIGH"), help="only at these steps (all)")
    parser.add_argument("--normalize", action="store_true", help="scale each clip to a peak of 0.95")
    parser.add_argument("--batch-size", type=cli.positive, help="clips at a time (what memory holds)")
    parser.add_argument("--overwrite", action="store_true", help="remove the clips that are in the folder first")
    parser.add_argument("--distributed", action="store_true", help="share the work with the other hosts of a cluster")
    task = parser.add_mutually_exclusive_group()
    task.add_argument("--interpolate", nargs=2, type=int, metavar=("SEED_A", "SEED_B"), help="between two voices")
    task.add_argument("--denoise", metavar="WAV", type=Path, help="take the noise out of a recording")
    parser.add_argument(
        "--step", type=int, help="where --denoise starts, the noisier the higher (25); where --interpolate mixes (50)"
    )
    options = parser.parse_args(arguments)
    if options.batch_size is not None and (options.denoise or options.interpolate):
        parser.error("--batch-size is for clips from noise; leave it out")
    if options.step is not None and not (options.denoise or options.interpolate):
        parser.error("--step goes with --denoise or --interpolate; the number of steps is --steps")
    return options


def command() -> None:
    """Runs on the process's command line."""
    sys.exit(cli.guard(main, parse(sys.argv[1:])))
