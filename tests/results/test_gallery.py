"""The gallery page, by an HTML parser everywhere and in a browser where Chromium is installed."""

import html.parser
import json
import re
import shutil
import subprocess
import warnings
from pathlib import Path

import librosa
import numpy as np
import pytest

from diffwave_jax.results import wav
from diffwave_jax.results.gallery import write_gallery
from diffwave_jax.results.spectrogram import mel_decibels, mel_png

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def write_clips(folder: Path, n: int) -> list[Path]:
    paths = []
    for index in range(n):
        record = {"index": index, "digit": 7, "seed": 0, "sampler": "dpm++", "eta": None, "out_of_range": index}
        paths.append(folder / f"{index:05d}_digit7.wav")
        samples = (20000 * np.sin(0.1 * (index + 1) * np.arange(4000))).astype(np.int16)
        wav.write(paths[-1], samples, 8000, record)
    return paths


class Page(html.parser.HTMLParser):
    """The tags of a page with their attributes, and whether every tag is closed."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self, path: Path):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data.strip())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_page_has_every_clip_with_its_settings(tmp_path):
    paths = write_clips(tmp_path, 3)
    write_gallery(tmp_path, paths, "3 clips <of> a model", "grid.png")
    page = Page(tmp_path / "index.html")
    assert page.open == []
    assert [audio["src"] for audio in page.all("audio")] == [path.name for path in paths]
    assert "3 clips <of> a model" in page.text and "Clip 00002, digit 7" in page.text
    assert [text for text in page.text if text in ("seed", "sampler", "dpm++", "eta")] == ["seed", "sampler", "dpm++"]
    assert "2 samples out of range, clipped" in page.text and "1 sample out of range, clipped" in page.text


def test_only_differences_stand_beside_each_clip(tmp_path):
    paths = write_clips(tmp_path, 3)
    record = wav.read_record(paths[1])
    wav.write(paths[1], np.zeros(4000, np.int16), 8000, {**record, "seed": 5, "speaker": "theo"})
    write_gallery(tmp_path, paths, "3 clips", command="diffwave-sample --seed 5 --digit 'a b'")
    page = Page(tmp_path / "index.html")
    words = [text for text in page.text if text in ("seed", "0", "5", "sampler", "theo")]
    assert words == ["sampler", "seed", "0", "seed", "5", "theo", "seed", "0"]
    assert "diffwave-sample --seed 5 --digit 'a b'" in page.text


def test_page_serves_keyboards_and_screen_readers(tmp_path):
    write_gallery(tmp_path, write_clips(tmp_path, 2), "2 clips")
    page = Page(tmp_path / "index.html")
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("meta")[1]["content"] == "width=device-width, initial-scale=1"
    assert len(page.all("h1")) == 1 and len(page.all("h2")) == 2 and len(page.all("main")) == 1
    assert page.all("a")[0]["href"] == "#clips" and page.all("main")[0]["id"] == "clips"
    for index, (image, audio) in enumerate(zip(page.all("img"), page.all("audio"), strict=True)):
        assert image["alt"] == f"Mel spectrogram of Clip {index:05d}, digit 7: 0.50 seconds, up to 4 kHz"
        assert "controls" in audio and audio["aria-label"] == f"Play Clip {index:05d}, digit 7"


def test_page_needs_no_network(tmp_path):
    write_gallery(tmp_path, write_clips(tmp_path, 2), "2 clips", "grid.png")
    text = (tmp_path / "index.html").read_text()
    assert not re.search(r"https?://|//\w+\.", text)
    page = Page(tmp_path / "index.html")
    assert not page.all("link") and all("src" not in script for script in page.all("script"))
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))


def test_many_clips_are_spread_over_pages(tmp_path, monkeypatch):
    monkeypatch.setattr("diffwave_jax.results.gallery.PER_PAGE", 2)
    write_gallery(tmp_path, write_clips(tmp_path, 5), "5 clips")
    pages = [Page(tmp_path / name) for name in ("index.html", "page2.html", "page3.html")]
    assert [len(page.all("audio")) for page in pages] == [2, 2, 1]
    for number, page in enumerate(pages):
        links = [link for link in page.all("a") if link.get("aria-label", "").startswith("Page")]
        assert [link["href"] for link in links] == ["index.html", "page2.html", "page3.html"]
        assert [link.get("aria-current") for link in links].index("page") == number


def test_spectrogram_has_the_tone_where_it_belongs():
    tone = np.sin(2 * np.pi * 3000 * np.arange(8000) / 8000).astype(np.float32)
    decibels = mel_decibels(tone, 8000)
    assert decibels.shape == (80, 126) and decibels.max() == 0 and decibels.min() == -80
    assert 65 < np.argmax(decibels.mean(axis=1)) < 75  # 3 kHz of 4 on the mel scale
    assert mel_png(tone, 8000).startswith(PNG_SIGNATURE)
    assert np.all(mel_decibels(np.zeros(8000, np.float32), 8000) <= 0)  # silence does not divide by zero


@pytest.mark.parametrize(("sample_rate", "length"), [(8000, 5120), (16000, 16000), (11025, 777), (16000, 300)])
def test_spectrogram_is_librosa_s(sample_rate, length):
    noise = np.random.default_rng(0).normal(0, 0.1, length).astype(np.float32)
    window, hop = round(0.064 * sample_rate), round(0.008 * sample_rate)
    options = {"n_fft": window, "hop_length": hop, "n_mels": 80, "pad_mode": "constant"}
    with warnings.catch_warnings(action="ignore"):  # of a clip shorter than the window
        power = librosa.feature.melspectrogram(y=noise, sr=sample_rate, **options)
    expected = librosa.power_to_db(power, ref=np.max, top_db=None)
    # Both are float32: a few roundings of a number up to 80.
    np.testing.assert_allclose(mel_decibels(noise, sample_rate), expected, atol=2e-5)


PROBE = """
<script>
const found = {durations: [], errors: 0, shown: 0, wide: []};
const tell = () => { document.body.dataset.found = JSON.stringify(found); };
Object.assign(document.body.style, {width: "320px", margin: "0"});
for (const element of document.querySelectorAll("main *")) {
  if (element.getBoundingClientRect().right > 320) found.wide.push(element.tagName);
}
found.ground = getComputedStyle(document.body).backgroundColor;
for (const image of document.images) found.shown += image.naturalWidth > 50;
for (const audio of document.querySelectorAll("audio")) {
  audio.addEventListener("loadedmetadata", () => { found.durations.push(audio.duration); tell(); });
  audio.addEventListener("error", () => { found.errors += 1; tell(); });
  audio.load();
}
tell();
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize(("dark", "ground"), [(False, "rgb(246, 246, 244)"), (True, "rgb(19, 19, 21)")])
def test_page_works_in_a_browser_from_the_file_system(tmp_path, dark, ground):
    write_gallery(tmp_path, write_clips(tmp_path, 3), "3 clips")
    page = tmp_path / "probe.html"
    page.write_text((tmp_path / "index.html").read_text() + PROBE)
    found = in_chromium(page, tmp_path / "profile", dark=dark)
    assert found["durations"] == [0.5] * 3 and found["errors"] == 0
    assert found["shown"] == 3
    assert found["wide"] == []  # nothing sticks out of a phone's 320 pixels
    assert found["ground"] == ground


def in_chromium(page: Path, profile: Path, *, dark: bool) -> dict:
    """What the probe found on the page."""
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --virtual-time-budget=10000 --dump-dom"
    flags += f" --user-data-dir={profile} --blink-settings=preferredColorScheme={0 if dark else 1}"
    command = [CHROMIUM, *flags.split(), page.as_uri()]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    return json.loads(html.unescape(re.search(r'data-found="([^"]*)"', text)[1]))
