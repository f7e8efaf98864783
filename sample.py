"""Makes clips: python sample.py --n 16 --out samples [--checkpoint RUN | --pretrained NAME] [--digit 0-9] ...

python sample.py --n 16 --digit 7 --guidance 1.5          sixteen sevens
python sample.py --interpolate 3 8 --n 9                  from seed 3's first clip to seed 8's
python sample.py --denoise noisy.wav --step 25            a recording without its noise
"""

import argparse
import re
import sys
from pathlib import Path

import diffwave_jax
from diffwave_jax import cli
from diffwave_jax.distributed import Cluster, join
from diffwave_jax.errors import UserError
from diffwave_jax.generation.generator import DENOISE_STEP, MIX_STEP
from diffwave_jax.generation.samplers import SAMPLERS
from diffwave_jax.generation.settings import Settings
from diffwave_jax.results import wav
from diffwave_jax.results.collection import FolderReport, generate_into, save_into


def main(options: argparse.Namespace) -> None:
    """Loads the model, makes the clips, says where they are."""
    if options.distributed:
        join(Cluster(detect=True))
    model = load(options)
    settings = settings_of(options, model.config)
    kept = {"normalize": options.normalize, "overwrite": options.overwrite}
    work = denoise if options.denoise else interpolate if options.interpolate else generate
    with cli.ClipBar() as bar:
        report = work(model, settings, options, bar, kept)
    tell(report)


def generate(model, settings: Settings, options: argparse.Namespace, bar: cli.ClipBar, kept: dict) -> FolderReport:
    """Clips from noise."""
    more = {"batch_size": options.batch_size, "on_progress": bar.show}
    return generate_into(options.out, model, options.n, settings, **kept, **more)


def interpolate(model, settings: Settings, options: argparse.Namespace, bar: cli.ClipBar, kept: dict) -> FolderReport:
    """Clips between two others."""
    settings = settings.of_clip(0, model.config.model.n_speakers)
    seeds, step = options.interpolate, MIX_STEP if options.step is None else options.step

    def make():
        return model.interpolate(*seeds, options.n, step, settings, on_step=bar.show_steps(options.n))

    made_by = {"interpolated_seeds": "{} to {}".format(*seeds), "mixed_at_step": step}
    return save_into(options.out, model, options.n, settings, make, **kept, **made_by)


def denoise(model, settings: Settings, options: argparse.Namespace, bar: cli.ClipBar, kept: dict) -> FolderReport:
    """A recording without its noise."""
    step = DENOISE_STEP if options.step is None else options.step
    recording = wav.read_recording(options.denoise, model.sample_rate, model.length)

    def make():
        return model.denoise(recording[None], step, settings, on_step=bar.show_steps(1))

    steps = model.steps_of(settings, start=step)
    made_by = {"denoised": options.denoise.name, "from_step": step, "steps": steps}
    return save_into(options.out, model, 1, settings, make, **kept, **made_by)


def load(options: argparse.Namespace) -> diffwave_jax.Generator:
    """The model asked for; the bundled one if none is."""
    if options.checkpoint:
        return diffwave_jax.load(options.checkpoint)
    with cli.DownloadBar() as bar:
        return diffwave_jax.load_pretrained(*([options.pretrained] if options.pretrained else []), on_progress=bar.show)


def settings_of(options: argparse.Namespace, config) -> Settings:
    """The settings asked for; the config's usual ones where nothing is said."""
    usual = config.sample
    sampler = options.sampler or usual.sampler
    # Steps, eta and the scale of the noise suit the usual sampler from noise to audio, and each other.
    usual_chain = sampler == usual.sampler and options.denoise is None
    steps = (usual.steps if usual_chain else None) if options.steps is None else options.steps
    usual_eta, usual_scale = (usual.eta, usual.noise_scale) if usual_chain and options.eta is None else (None, 1.0)
    eta = usual_eta if options.eta is None else options.eta
    noise_scale = usual_scale if options.noise_scale is None else options.noise_scale
    usual_digit = () if options.denoise else usual.digit  # nobody knows what a recording says
    digit = usual_digit if options.digit is None else options.digit
    guidance = (usual.guidance if digit else 1.0) if options.guidance is None else options.guidance
    guided_steps = usual.guided_steps if options.guided_steps is None else options.guided_steps
    usual_speaker = usual.speaker if digit else ()
    speaker = usual_speaker if options.speaker is None else speakers(options.speaker, tuple(config.data.speakers))
    return Settings(options.seed, sampler, steps, eta, digit, guidance, speaker, guided_steps, noise_scale)


def speakers(text: str, known: tuple[str, ...]) -> tuple[int, ...]:
    """Numbers of the speakers in `george,lucas` among those that the model knows."""
    names = text.split(",")
    for name in names:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none to choose from"
            raise UserError(f"this model has no speaker {name!r}; {has}")
    return tuple(known.index(name) for name in names)


def tell(report) -> None:
    """Prints what is where."""
    clips = "1 clip" if report.clips == 1 else f"{report.clips} clips"
    print(f"{clips} in {report.gallery.parent} ({report.made} new); to listen, open {report.gallery}")
    if report.clipped_samples:
        print(
            f"{report.clipped_samples} samples in {report.clipped_clips} clips lay outside [-1, 1] and were clipped; "
            "--normalize scales such clips instead"
        )


def digits(text: str) -> tuple[int, ...]:
    """`7`, `0-9`, `1,3,5` or `none` as classes."""
    if text == "none":
        return ()
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no digit; write 7, 0-9, 1,3,5 or none")
    spans = [[int(end) for end in part.split("-")] for part in text.split(",")]
    if any(span[0] > span[-1] for span in spans):
        raise argparse.ArgumentTypeError(f"{text!r} counts down; write 0-9, not 9-0")
    return tuple(digit for span in spans for digit in range(span[0], span[-1] + 1))


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
        "--digit", metavar="D", type=digits, help="7, or several that clips take in turn: 0-9, 1,3,5; or none"
    )
    parser.add_argument("--speaker", metavar="NAME", help="who says it, or several who take turns: george,lucas (all)")
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


if __name__ == "__main__":
    sys.exit(cli.guard(main, parse(sys.argv[1:])))
