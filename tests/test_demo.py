"""The page to play with: what its buttons do, and the page itself in headless Chromium where there is one."""

import contextlib
import gc
import shutil
import warnings

import numpy as np
import pytest
import soundfile

from diffwave_jax import cli
from diffwave_jax.commands import demo, sample
from diffwave_jax.demo import work
from diffwave_jax.errors import UserError
from diffwave_jax.results import wav
from tests.helpers.autoregressive import golden_generator
from tests.helpers.golden_vectors import golden_vocoder
from tests.helpers.tiny import tiny_generator

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def model():
    generator = tiny_generator(n_classes=10, n_speakers=2)
    generator.config.sample.update(sampler="dpm++", steps=2)
    return generator


def nobody(done: int, total: int) -> None:
    """Hears of steps."""


def test_the_command_makes_the_same_clip(model, tmp_path):
    path = model.save(tmp_path / "a model.safetensors")
    asked = {"digit": "seven", "speaker": "speaker1", "sampler": "ddim", "steps": 3, "guidance": 1.5, "seed": 4}
    made = work.generate(model, ["--checkpoint", str(path)], nobody, **asked)
    assert made.command.startswith(f"diffwave-sample --checkpoint '{path}' --n=1 --digit=seven --speaker=speaker1")
    words = made.command.replace("'", "").removeprefix("diffwave-sample --checkpoint ").removeprefix(str(path)).split()
    sample.main(sample.parse(["--checkpoint", str(path), *words, "--out", str(tmp_path / "out")]))
    (file,) = (tmp_path / "out").glob("*.wav")
    np.testing.assert_array_equal(wav.to_pcm(wav.read(file).audio)[0], made.sound[1])
    assert made.sound[0] == 8000 and made.picture.width > 300
    assert made.picture.convert("RGBA").getpixel((0, 0))[3] == 0  # the page's ground shows, light or dark


def test_the_way_between_two_clips(model):
    clips = work.between(model, 1, 2, nobody, digit="two", steps=2)
    assert clips.shape == (work.POSITIONS, model.length)
    assert not np.array_equal(clips[0], clips[-1])


def test_denoising(model, tmp_path):
    with pytest.raises(UserError, match="no recording yet"):
        work.denoise(model, [], None, 3, nobody)
    soundfile.write(tmp_path / "noisy.wav", 0.1 * np.random.default_rng(0).standard_normal(200), 8000)
    made = work.denoise(model, [], str(tmp_path / "noisy.wav"), 3, nobody)
    assert made.command == "diffwave-sample --denoise=noisy.wav --step=3" and len(made.sound[1]) == model.length


def test_an_autoregressive_model(tmp_path):
    model = golden_generator("ar_rf5_tiny")
    made = work.predict(model, [], 0.002, None, nobody, seed=1, temperature=0.9, top_p=1)
    assert made.command == "diffwave-sample --n=1 --seconds=0.002 --seed=1 --temperature=0.9 --top-p=1"
    expected = model.generate(1, seed=1, length=32, temperature=0.9)
    np.testing.assert_array_equal(made.sound[1], wav.to_pcm(expected[0])[0])


def test_a_vocoder(tmp_path):
    model = golden_vocoder("vocoder_lmnt_tiny")
    soundfile.write(tmp_path / "voice.wav", 0.1 * np.random.default_rng(0).standard_normal(2205), 22050)
    made = work.vocode(model, [], str(tmp_path / "voice.wav"), nobody, sampler="ddim", steps=1, seed=0)
    assert made.command == "diffwave-sample --vocode=voice.wav --sampler=ddim --steps=1 --seed=0"
    assert made.sound[0] == 22050 and len(made.sound[1]) >= 2205


def test_without_the_extra(monkeypatch, capsys):
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        cli.guard(demo.main, demo.parse([]))
    assert "pip install 'diffwave_jax[demo]'" in capsys.readouterr().err


def test_for_this_machine_alone():
    assert demo.parse([]).host == "127.0.0.1"


HEAR = """
const play = HTMLMediaElement.prototype.play;
HTMLMediaElement.prototype.play = function () {
  for (const name of ["playing", "ended"]) this.addEventListener(name, () => { window.heard = this.duration; });
  return play.call(this);
};
"""


@contextlib.contextmanager
def serving(model):
    """The address of a model's page, on a free port."""
    pytest.importorskip("gradio", reason="the extra demo is not installed")
    from diffwave_jax.demo import page

    blocks = page.page(model)
    _, address, _ = blocks.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **page.LOOK)
    yield address
    with warnings.catch_warnings(action="ignore"):  # what the server leaves to the garbage collector
        blocks.close()
        gc.collect()


@pytest.fixture(scope="module")
def served(model):
    with serving(model) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=flags)


@pytest.mark.filterwarnings("default")  # Gradio's and its server's own
def test_a_clip_is_made_and_played(served, browser):
    page = browser.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.add_init_script(HEAR)
    page.goto(served)
    page.get_by_role("button", name="Make a clip").click()
    line = page.locator(".command textarea").first
    page.wait_for_function("element => element.value.includes('--n=1')", arg=line.element_handle(), timeout=60_000)
    assert line.input_value().startswith("diffwave-sample --n=1 --digit=zero --speaker=speaker0 --sampler=dpm++")
    page.get_by_label("Play", exact=True).and_(page.locator(":enabled")).first.click()
    page.wait_for_function("window.heard > 0.03", timeout=30_000)  # seconds: 256 samples at 8 kHz
    assert all(url.startswith((served, "data:", "blob:")) for url in asked)  # nobody else's server is asked
    page.close()


@pytest.mark.filterwarnings("default")
def test_an_error_is_a_sentence(served, browser):
    page = browser.new_page()
    page.goto(served)
    page.get_by_role("tab", name="Denoise").click()
    page.get_by_role("button", name="Take out the noise").click()
    page.get_by_text("no recording yet: upload one, or record it").wait_for(timeout=30_000)
    page.close()


@pytest.mark.filterwarnings("default")
def test_nothing_sticks_out_of_a_phone(served, browser):
    page = browser.new_page(viewport={"width": 360, "height": 800}, color_scheme="dark")
    page.goto(served)
    page.get_by_role("button", name="Make a clip").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, ground.strip("rgba()").replace(",", " ").split()[:3])) < 150
    page.close()


@pytest.mark.filterwarnings("default")
def test_other_kinds_of_model_on_a_phone(browser, tmp_path):
    recording = tmp_path / "voice.wav"
    soundfile.write(recording, 0.1 * np.random.default_rng(0).standard_normal(2205), 22050)
    predicting, copying = golden_generator("ar_s4v3_unet_tiny"), golden_vocoder("vocoder_lmnt_tiny")
    for model, about, heard, button, command in (
        (
            *(predicting, "trained on clips of 0.06 s", None),
            *("Make a clip", "diffwave-sample --n=1 --seconds=0.06 --seed=0"),
        ),
        (
            *(copying, "a vocoder for recordings of any length", recording),
            *("Through the mel spectrogram", "diffwave-sample --vocode=voice.wav --sampler=fast"),
        ),
    ):
        with serving(model) as address:
            page = browser.new_page(viewport={"width": 360, "height": 800})
            page.goto(address)
            page.get_by_text(about).wait_for()
            if heard is not None:
                page.locator("input[type=file]").set_input_files(heard)
                page.get_by_text("voice.wav").or_(page.get_by_label("Play", exact=True)).first.wait_for(timeout=30_000)
            page.get_by_role("button", name=button).click()
            line = page.locator(".command textarea").first
            page.wait_for_function("element => element.value !== ''", arg=line.element_handle(), timeout=60_000)
            assert line.input_value().startswith(command)
            assert page.evaluate("document.documentElement.scrollWidth") == 360
            page.close()
