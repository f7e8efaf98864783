"""Makes clips: python sample.py --n 16 --out samples [--checkpoint RUN | --pretrained NAME] [--digit 0-9] ...

python sample.py --n 16 --digit 7 --guidance 1.5 --out sevens     sixteen sevens
python sample.py --interpolate 3 8 --n 9 --out between            from seed 3's first clip to seed 8's
python sample.py --denoise noisy.wav --step 25 --out clean        a recording without its noise
python sample.py --vocode voice.wav --out copies                  through its mel spectrogram and back
python sample.py --checkpoint RUN --prime start.wav --seconds 4   of an autoregressive model: how it goes on
"""

import argparse
import dataclasses
import math
import re
import sys
from pathlib import Path

import diffwave_jax
from diffwave_jax import cli
from diffwave_jax.allocator import keep_freed_memory
from diffwave_jax.distributed import Cluster, joined
from diffwave_jax.doing import telling
from diffwave_jax.errors import UserError, printable
from diffwave_jax.generation.generator import DENOISE_STEP, MIX_STEP
from diffwave_jax.generation.loading import Model
from diffwave_jax.generation.samplers import SAMPLERS
from diffwave_jax.generation.settings import Settings
from diffwave_jax.generation.stream_settings import StreamSettings
from diffwave_jax.pretrained import USUAL, USUAL_VOCODER
from diffwave_jax.results import wav
from diffwave_jax.results.collection import FolderReport, OutputOptions, generate_into, save_into
from diffwave_jax.results.copies import vocode_into

# Flags that only one kind of model knows.
FOR_DIFFUSION = (
    *("sampler", "steps", "eta", "noise_scale", "digit", "speaker", "guidance", "guided_steps", "guide_memory"),
    *("early", "levels", "polish"),
    *("interpolate", "denoise", "vocode", "step", "match"),
)
FOR_AUTOREGRESSION = ("seconds", "temperature", "top_p", "prime")
MOST_SECONDS = 3600  # of a clip, which lies whole in memory


def main(options: argparse.Namespace) -> None:
    """Loads the model, makes the clips, says where they are."""
    with joined(Cluster(detect=options.distributed)):
        model = load(options)
        check_flags(model, options)
        with cli.ClipBar() as bar, telling(bar.doing):
            report = make(model, options, bar)
        tell(report)


def load(options: argparse.Namespace) -> Model:
    """The model asked for; the bundled one of the kind that the work needs if none is."""
    if options.checkpoint:
        return diffwave_jax.load(options.checkpoint)
    name = options.pretrained or (USUAL_VOCODER if options.vocode else USUAL)
    with cli.DownloadBar() as bar:
        return diffwave_jax.load_pretrained(name, on_progress=bar.show)


def check_flags(model: Model, options: argparse.Namespace) -> None:
    """UserError for a flag of the other kind of model."""
    autoregressive = isinstance(model, diffwave_jax.AutoregressiveGenerator)
    kind, other = ("an autoregressive", FOR_DIFFUSION) if autoregressive else ("a diffusion", FOR_AUTOREGRESSION)
    for flag in other:
        if getattr(options, flag) is not None:
            raise UserError(f"--{flag.replace('_', '-')} is not for {kind} model, which this is: leave it out")


def make(model: Model, options: argparse.Namespace, bar: cli.ClipBar) -> FolderReport:
    """The clips asked for."""
    if isinstance(model, diffwave_jax.AutoregressiveGenerator):
        return predict(model, options, bar)
    tasks = {"denoise": denoise, "interpolate": interpolate, "vocode": vocode}
    work = next((task for name, task in tasks.items() if getattr(options, name)), generate)
    return work(model, options, bar)


def predict(model: diffwave_jax.AutoregressiveGenerator, options: argparse.Namespace, bar: cli.ClipBar) -> FolderReport:
    """Clips that are predicted sample by sample."""
    return generate_into(
        options.out,
        model,
        options.n,
        stream_settings_of(options, model),
        output_of(options),
        batch_size=options.batch_size,
        on_progress=bar.show,
    )


def stream_settings_of(options: argparse.Namespace, model: diffwave_jax.AutoregressiveGenerator) -> StreamSettings:
    """The settings asked for; the model's own distribution and length where nothing is said."""
    length = model.length if options.seconds is None else round(options.seconds * model.sample_rate)
    settings = StreamSettings(
        length=length,
        seed=options.seed,
        temperature=1.0 if options.temperature is None else options.temperature,
        top_p=1.0 if options.top_p is None else options.top_p,
    )
    settings.check()
    if options.prime is None:
        return settings
    prime = wav.read_prime(options.prime, model.sample_rate, length)
    return dataclasses.replace(settings, prime=prime, prime_name=options.prime.name)


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

    def mixtures():
        return model.interpolate(seed_a, seed_b, options.n, step, settings, on_step=bar.show_steps(options.n))

    origin = {"interpolated_seeds": f"{seed_a} to {seed_b}", "mixed_at_step": step}
    return save_into(options.out, model, options.n, settings, mixtures, output_of(options), origin)


def denoise(model: diffwave_jax.Generator, options: argparse.Namespace, bar: cli.ClipBar) -> FolderReport:
    """A recording without its noise."""
    step = DENOISE_STEP if options.step is None else options.step
    settings = settings_of(options, model.config, start=step)
    recording = wav.read_recording(options.denoise, model.sample_rate, model.length)

    def cleaned():
        return model.denoise(recording[None], step, settings, on_step=bar.show_steps(1))

    origin = {"denoised": options.denoise.name, "from_step": step}
    return save_into(options.out, model, 1, settings, cleaned, output_of(options), origin)


def vocode(model: diffwave_jax.Generator, options: argparse.Namespace, bar: cli.ClipBar) -> FolderReport:
    """Audio of recordings' mel spectrograms, or of mel spectrograms."""
    settings = settings_of(options, model.config)
    return vocode_into(options.out, model, options.vocode, settings, output_of(options), on_progress=bar.show)


def settings_of(options: argparse.Namespace, config, start: int | None = None) -> Settings:
    """The settings asked for; the model's usual ones where nothing is said."""
    return Settings.for_model(
        config,
        seed=options.seed,
        sampler=options.sampler,
        steps=options.steps,
        eta=options.eta,
        noise_scale=options.noise_scale,
        levels=options.levels,
        polish=options.polish,
        match=options.match,
        digit=options.digit,
        speaker=options.speaker,
        guidance=options.guidance,
        guided_steps=options.guided_steps,
        guide_memory=options.guide_memory,
        early=options.early,
        start=start,
    )


def output_of(options: argparse.Namespace) -> OutputOptions:
    """How the clips are put into the folder."""
    return OutputOptions(normalize=options.normalize, overwrite=options.overwrite, command=options.command)


def tell(report: FolderReport) -> None:
    """Prints what is where."""
    folder, page = printable(report.gallery.parent), printable(report.gallery)
    print(f"{_number(report.clips, 'clip')} in {folder} ({report.made} new); to listen, open {page}")
    if report.clipped_samples:
        clipped = f"{_number(report.clipped_samples, 'sample')} in {_number(report.clipped_clips, 'clip')}"
        print(f"cut off at full scale: {clipped}; --normalize scales such clips instead")


def _number(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"


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


def levels(text: str) -> tuple[int, ...]:
    """Diffusion steps in `199,130,85,42`."""
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a row of diffusion steps such as 199,130,85,42")
    return tuple(map(int, text.split(",")))


def seconds(text: str) -> float:
    """A time, for an option."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    if value > MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} seconds are more than a clip may last, {MOST_SECONDS}")
    return value


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.ArgumentParser(__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--checkpoint", metavar="DIR", type=Path, help="a run's folder, or one checkpoint of it")
    which.add_argument(
        "--pretrained", metavar="NAME", help="a released model or hf://OWNER/NAME; without it the bundled one"
    )
    parser.add_argument("--n", type=cli.positive, default=16, help="number of clips (16)")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("samples"), help="where they go (samples)")
    parser.add_argument("--seed", type=int, default=0, help="clip i is the same for the same seed (0)")
    parser.add_argument("--sampler", choices=SAMPLERS, help="how to sample (the model's usual way)")
    parser.add_argument("--steps", type=int, help="evaluations of the network (the model's or the sampler's usual)")
    parser.add_argument(
        "--levels", type=levels, metavar="T,T,...", help="the diffusion steps themselves: 199,130,85,42"
    )
    parser.add_argument(
        "--polish", type=int, metavar="T", help="one pass more, from diffusion step T: clearer harmonics"
    )
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
    parser.add_argument(
        "--guide-memory", type=float, metavar="S", help="guide away from a SaShiMi that hears S seconds"
    )
    parser.add_argument(
        "--early",
        nargs=3,
        type=float,
        metavar=("T", "G", "N"),
        help="guidance G and noise scale N from diffusion step T on, which decide the word",
    )
    predicted = parser.add_argument_group("of autoregressive models")
    predicted.add_argument("--seconds", type=seconds, help="how long clips are, with the prime (as in training)")
    predicted.add_argument("--temperature", type=float, help="above 0; below 1 for more probable samples (1)")
    predicted.add_argument("--top-p", type=float, help="draw from the most probable, 0 to 1 of all together (1)")
    predicted.add_argument("--prime", metavar="WAV", type=Path, help="a recording that clips go on from")
    parser.add_argument("--normalize", action="store_true", help="scale each clip to a peak of 0.95")
    parser.add_argument("--batch-size", type=cli.positive, help="clips at a time (what memory holds)")
    parser.add_argument("--overwrite", action="store_true", help="remove the clips that are in the folder first")
    parser.add_argument("--distributed", action="store_true", help="share the work with the other hosts of a cluster")
    task = parser.add_mutually_exclusive_group()
    task.add_argument("--interpolate", nargs=2, type=int, metavar=("SEED_A", "SEED_B"), help="between two voices")
    task.add_argument("--denoise", metavar="WAV", type=Path, help="take the noise out of a recording")
    task.add_argument(
        "--vocode",
        metavar="PATH",
        type=Path,
        help="recordings, or their mels (.npy), through a vocoder: file or folder",
    )
    parser.add_argument(
        "--match",
        type=int,
        metavar="N",
        help="rounds that pull a vocoder's audio to its mel in each step; 0 for none (the model's)",
    )
    parser.add_argument(
        "--step", type=int, help="where --denoise starts, the noisier the higher (25); where --interpolate mixes (50)"
    )
    options = parser.parse_args(arguments)
    options.command = cli.command_line(arguments)
    if options.batch_size is not None and (options.denoise or options.interpolate or options.vocode):
        parser.error("--batch-size is for clips from noise; leave it out")
    if options.step is not None and not (options.denoise or options.interpolate):
        parser.error("--step goes with --denoise or --interpolate; the number of steps is --steps")
    return options


def command() -> None:
    """Runs on the process's command line."""
    keep_freed_memory()
    sys.exit(cli.guard(main, parse(sys.argv[1:])))
