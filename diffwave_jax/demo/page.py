"""The page, in Gradio; which parts it has, the model says."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr  # pyright: ignore[reportMissingImports]: of the extra `demo`
from gradio.themes import Default  # pyright: ignore[reportMissingImports]

from diffwave_jax.demo import work
from diffwave_jax.errors import UserError
from diffwave_jax.generation.autoregressive_generator import AutoregressiveGenerator
from diffwave_jax.generation.choices import class_names, speaker_names
from diffwave_jax.generation.generator import DENOISE_STEP, Generator
from diffwave_jax.generation.loading import Model
from diffwave_jax.generation.samplers import SAMPLERS
from diffwave_jax.generation.settings import LARGEST_SEED, Settings

TITLE = "diffwave_jax"
# The system's own fonts: the page asks nobody else's server for anything.
THEME = Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
LOOK = {"theme": THEME, "footer_links": ["gradio", "settings"]}  # as `launch` takes it


def page(model: Model, source: Sequence[str] = ()) -> gr.Blocks:
    """The page of a model.

    Args:
      model: what makes the clips.
      source: the words that name it on a command line; none for the bundled model.
    """
    with gr.Blocks(title=TITLE) as blocks:
        gr.Markdown(f"# {TITLE}\n{_about(model)}")
        if isinstance(model, AutoregressiveGenerator):
            _predict(model, source)
            return blocks
        if model.config.model.n_mels:
            _vocode(model, source)
            return blocks
        with gr.Tab("Make a clip"):
            _generate(model, source)
        with gr.Tab("Between two clips"):
            _between(model)
        with gr.Tab("Denoise"):
            _denoise(model, source)
    return blocks


def _about(model: Model) -> str:
    """One line: the network, its size, and what it makes."""
    seconds = f"{model.length / model.sample_rate:.2f} s"
    if isinstance(model, AutoregressiveGenerator):
        makes = f"trained on clips of {seconds}"
    else:
        makes = "a vocoder for recordings of any length" if model.config.model.n_mels else f"clips of {seconds}"
    return f"{model.config.model.name}, {model.num_parameters:,} weights, {model.sample_rate} Hz, {makes}"


def explained(function: Callable) -> Callable:
    """The function, whose UserError the page shows as a sentence."""

    @functools.wraps(function)
    def call(*arguments, **named):
        try:
            return function(*arguments, **named)
        except UserError as error:
            raise gr.Error(str(error), title="That cannot be made", print_exception=False) from error

    return call


def _steps(progress: gr.Progress) -> Callable[[int, int], None]:
    def show(done: int, total: int) -> None:
        progress((done, total), desc="steps", unit="steps")

    return show


def _seed(label: str, value: int) -> gr.Number:
    return gr.Number(value, label=label, precision=0, minimum=0, maximum=LARGEST_SEED)


def _recording(label: str) -> gr.Audio:
    """Where a recording is put in: nobody is offered to share it with others."""
    return gr.Audio(label=label, type="filepath", buttons=[])


def _outputs() -> list:
    """Where a clip appears."""
    clip = _clip()  # above the command, since a part appears where it is made
    line = gr.Textbox(
        label="the same on the command line", lines=2, interactive=False, buttons=["copy"], elem_classes="command"
    )
    return [*clip, line]


def _clip() -> list:
    sound = gr.Audio(label="clip", interactive=False, buttons=["download"])
    return [
        sound,
        gr.Image(label="waveform and mel spectrogram", interactive=False, image_mode="RGBA", buttons=["fullscreen"]),
    ]


def _asked(model: Generator) -> dict[str, Any]:
    """Inputs that say what is to be heard, by the names of `Settings.for_model`; they begin at the usual ones."""
    usual = Settings.for_model(model.config)
    found: dict[str, Any] = {}
    classes, speakers = class_names(model.config), speaker_names(model.config)
    if classes:
        found["digit"] = gr.Dropdown(classes, value=classes[usual.digit_of(0) or 0], label="digit")
    if speakers:
        found["speaker"] = gr.Dropdown(speakers, value=speakers[0], label="voice")
    if model.config.sample.distilled:
        return found
    found["sampler"] = gr.Dropdown(list(SAMPLERS), value=usual.sampler, label="sampler")
    found["steps"] = gr.Slider(1, model.diffusion.num_steps, value=usual.steps, step=1, label="steps")
    if classes:
        found["guidance"] = gr.Slider(0, 8, value=usual.guidance, step=0.05, label="guidance (1 for none)")
    return found


def _generate(model: Generator, source: Sequence[str]) -> None:
    with gr.Row():
        with gr.Column():
            asked = {**_asked(model), "seed": _seed("seed", 0)}
            button = gr.Button("Make a clip", variant="primary")
        with gr.Column():
            outputs = _outputs()

    def make(*values, progress=gr.Progress()):  # noqa: B008 - Gradio finds it there
        return work.generate(model, source, _steps(progress), **dict(zip(asked, values, strict=True)))

    button.click(explained(make), list(asked.values()), outputs, show_progress_on=outputs[0], api_name="generate")


def _between(model: Generator) -> None:
    clips = gr.State(None)
    with gr.Row():
        with gr.Column():
            asked, seeds = _asked(model), [_seed("seed of the first clip", 1), _seed("seed of the second clip", 2)]
            button = gr.Button("Make the way between them", variant="primary")
            place = gr.Slider(0, 1, value=0, step=1 / (work.POSITIONS - 1), label="from the first to the second")
        with gr.Column():
            outputs = _clip()

    def make(seed_a, seed_b, *values, progress=gr.Progress()):  # noqa: B008 - Gradio finds it there
        asked_for = dict(zip(asked, values, strict=True))
        made = work.between(model, seed_a, seed_b, _steps(progress), **asked_for)
        return made, 0, *work.shown(made[0], model.sample_rate, "")[:2]

    def show(made, where):
        if made is None:
            raise UserError("no clips yet: make the way between them first")
        return work.shown(made[round(where * (work.POSITIONS - 1))], model.sample_rate, "")[:2]

    inputs = [*seeds, *asked.values()]
    made = [clips, place, *outputs]
    button.click(explained(make), inputs, made, show_progress_on=outputs[0], api_name="between")
    place.release(explained(show), [clips, place], outputs, show_progress="hidden", api_name="place")


def _denoise(model: Generator, source: Sequence[str]) -> None:
    with gr.Row():
        with gr.Column():
            seconds = model.length / model.sample_rate
            recording = _recording(f"a recording of at most {seconds:.2f} s")
            last = model.diffusion.num_steps - 1
            step = gr.Slider(0, last, value=DENOISE_STEP, step=1, label="noise: the more, the higher")
            button = gr.Button("Take out the noise", variant="primary")
        with gr.Column():
            outputs = _outputs()

    def make(path, step, progress=gr.Progress()):  # noqa: B008 - Gradio finds it there
        return work.denoise(model, source, path, int(step), _steps(progress))

    button.click(explained(make), [recording, step], outputs, show_progress_on=outputs[0], api_name="denoise")


def _vocode(model: Generator, source: Sequence[str]) -> None:
    with gr.Row():
        with gr.Column():
            recording = _recording("a recording")
            asked = {**_asked(model), "seed": _seed("seed", 0)}
            button = gr.Button("Through the mel spectrogram", variant="primary")
        with gr.Column():
            outputs = _outputs()

    def make(path, *values, progress=gr.Progress()):  # noqa: B008 - Gradio finds it there
        return work.vocode(model, source, path, _steps(progress), **dict(zip(asked, values, strict=True)))

    button.click(explained(make), [recording, *asked.values()], outputs, show_progress_on=outputs[0], api_name="vocode")


def _predict(model: AutoregressiveGenerator, source: Sequence[str]) -> None:
    with gr.Row():
        with gr.Column():
            usual = model.length / model.sample_rate
            asked = [
                gr.Number(round(usual, 2), label="seconds", minimum=0.01),
                _recording("begin with (if you like)"),
                _seed("seed", 0),
                gr.Slider(0.1, 2, value=1, step=0.05, label="temperature"),
                gr.Slider(0.05, 1, value=1, step=0.05, label="top-p"),
            ]
            button = gr.Button("Make a clip", variant="primary")
        with gr.Column():
            outputs = _outputs()

    def make(seconds, prime, seed, temperature, top_p, progress=gr.Progress()):  # noqa: B008 - Gradio finds it there
        named = {"seed": seed, "temperature": temperature, "top_p": top_p}
        return work.predict(model, source, seconds, prime, _steps(progress), **named)

    button.click(explained(make), asked, outputs, show_progress_on=outputs[0], api_name="predict")
