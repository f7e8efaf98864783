"""`index.html`: a page that plays clips, shows their mel spectrograms and what made them, all from the file system."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

from diffwave_jax.files import complete
from diffwave_jax.results import wav
from diffwave_jax.results.folder import OUT_OF_RANGE, out_of_range
from diffwave_jax.results.spectrogram import mel_png

PER_PAGE = 100


def write_gallery(
    folder: Path, paths: Sequence[Path], title: str, picture: str | None = None, command: str | None = None
) -> None:
    """Writes the gallery of the clips at `paths`, which lie in `folder`, 100 to a page.

    Args:
      folder: where `index.html`, and `page2.html` and so on, go.
      paths: WAV files in that folder.
      title: the page's heading.
      picture: file name of a picture of the clips in that folder, linked at the top.
      command: the command line that makes these clips, to copy.
    """
    template = _environment().get_template("gallery.html")
    pages = [paths[start : start + PER_PAGE] for start in range(0, len(paths), PER_PAGE)]
    names = [page_name(number) for number in range(1, len(pages) + 1)]
    shared = _shared([_settings(wav.read_record(path)) for path in paths])
    about = {"title": title, "count": len(paths), "picture": picture, "command": command, "shared": shared}
    for number, page in enumerate(pages, start=1):
        clips = [_clip(wav.read(path), shared) for path in page]
        text = template.render(**about, clips=clips, pages=names, number=number)
        with complete(folder / page_name(number)) as partial:
            partial.write_text(text, encoding="utf-8")


def page_name(number: int) -> str:
    """File name of a page, the first being 1."""
    return "index.html" if number == 1 else f"page{number}.html"


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("diffwave_jax.results", package_path=""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _shared(settings: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The settings that all clips have in common."""
    first, *others = settings
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def _clip(clip: wav.WavClip, shared: Mapping[str, str]) -> dict:
    """What the template shows of a clip, beside what all clips share."""
    digit, title = clip.record.get("digit"), clip.record.get("title")
    name = clip.path.stem.split("_")[0]
    return {
        "file": clip.path.name,
        "name": title or (f"Clip {name}" if digit is None else f"Clip {name}, digit {digit}"),
        "seconds": len(clip.audio) / clip.sample_rate,
        "kilohertz": clip.sample_rate / 2000,
        "image": base64.b64encode(mel_png(clip.audio, clip.sample_rate)).decode(),
        "settings": {name: value for name, value in _settings(clip.record).items() if name not in shared},
        "out_of_range": out_of_range(clip.record),
    }


def _settings(record: Mapping) -> dict[str, str]:
    """A record's settings in words, without those that are unset or in the heading."""
    hidden = ("index", "digit", "title", OUT_OF_RANGE)
    shown = {name: value for name, value in record.items() if name not in hidden and value is not None}
    words = {True: "yes", False: "no"}
    return {
        name.replace("_", " "): words[value] if isinstance(value, bool) else str(value) for name, value in shown.items()
    }
