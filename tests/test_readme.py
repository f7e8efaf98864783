"""README's commands, run in their order from one folder, as they stand, and the Python code of the guides.

Left out are the commands whose comment says "(network". The folder is a copy of the repository that asks less of the
machine: a tiny network stands in for the bundled one, `configs/small.py` trains two steps of a tinier network, and the
two files that the reader is to bring are made up. All of the guides' code is run, with tiny networks under the names
that it loads, and what its reader is to have made up too.
"""

import contextlib
import functools
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import numpy as np
import pytest

import diffwave_jax
from configs.digits import SPEAKERS
from diffwave_jax import checkpoint
from diffwave_jax.config import to_dict
from diffwave_jax.convert.to_torch import write_torch
from tests.helpers.audio_files import pack, write_layout
from tests.helpers.autoregressive import golden_generator
from tests.helpers.golden_vectors import golden_vocoder
from tests.helpers.tiny import tiny_generator
from tests.helpers.torch_files import MODELS, random_contents

pytestmark = pytest.mark.usefixtures("programs_kept")

ROOT = Path(__file__).resolve().parents[1]
FASTER = """

_full = get_config


def get_config():
    config = _full()
    config.model.update(d_model=2, n_layers=(0, 0, 0))
    config.train.update(num_steps=2, batch_size=2, warmup_steps=1)
    config.data.data_dir = "prepared"
    config.sample.steps = 2
    return config
"""


def blocks(path: Path = ROOT / "README.md") -> list[str]:
    """A file's blocks, indented or fenced as Python: commands, or Python."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"^```python\n(.*?)^```\n", lambda found: textwrap.indent(found[1], "    "), text, flags=re.M | re.S)
    found = re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.MULTILINE)
    return [re.sub("^    ", "", block, flags=re.MULTILINE).strip() for block in found]


def commands() -> list[str]:
    """What is to be run, one shell command each, in order."""
    found = []
    for block in blocks():
        if "import diffwave_jax" in block:
            found.append(f"python - <<'END'\n{block}\nEND")
        else:
            found += [line for line in block.splitlines() if line and "(network" not in line]
    return found


@pytest.fixture
def clone(tmp_path) -> Path:
    """The repository, made small."""
    root = tmp_path / "clone"
    shutil.copytree(ROOT / "configs", root / "configs")
    with (root / "configs" / "small.py").open("a") as file:
        file.write(FASTER)
    for script in ROOT.glob("*.py"):
        shutil.copy(script, root)
    package = root / "diffwave_jax"
    (package / "bundled").mkdir(parents=True)
    for part in [*(ROOT / "diffwave_jax").iterdir(), *(ROOT / "diffwave_jax" / "bundled").iterdir()]:
        if part.name not in ("__pycache__", "bundled", "digits"):
            (root / part.relative_to(ROOT)).symlink_to(part.resolve())
    bundle(package / "bundled" / "digits")
    words = write_layout(tmp_path / "words", {"one": 3, "two": 3}, ["one/s2_nohash_0.wav"], ["two/s2_nohash_0.wav"])
    pack(words, root / "speech_commands.tar.gz")
    write_torch(root / "sashimi_sc09_800k_steps.pt", random_contents(MODELS["sashimi"]))
    return root


def tiny_digits() -> diffwave_jax.Generator:
    """A tiny network with the words and voices of the bundled one."""
    model = tiny_generator(n_classes=10, n_speakers=len(SPEAKERS))
    model.config.data.speakers = SPEAKERS
    model.config.sample.update(sampler="dpm++sde", steps=3, digit=tuple(range(10)), guidance=2.0)
    return model


def bundle(folder: Path) -> None:
    """Writes it where the bundled one lies."""
    model = tiny_digits()
    checkpoint.save(folder, 1, params=jax.device_get(model._params), config=to_dict(model.config))


def test_the_commands_run_in_order_from_one_folder(clone):
    places = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = os.environ | {"PATH": os.pathsep.join(places), "JAX_PLATFORMS": "cpu"}
    environment |= {
        "JAX_COMPILATION_CACHE_DIR": str(clone / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    run = list(dict.fromkeys(line.partition("  #")[0].strip() for line in commands()))  # each one once
    assert sum(line.startswith("python sample.py") for line in run) >= 4
    for command in run:
        done = subprocess.run(command, shell=True, cwd=clone, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
    assert len(list((clone / "samples").glob("*.wav"))) == 16
    assert len(list((clone / "samples_theo").glob("*_digit7.wav"))) == 16
    assert len(list((clone / "samples_between").glob("*.wav"))) == 9
    assert len(list((clone / "samples_small").glob("*.wav"))) == 16
    assert {path.name for path in (clone / "runs").iterdir()} == {"small", "released"}
    assert "16 clips" in (clone / "evaluation" / "evaluation.txt").read_text()


def test_what_is_left_out_needs_the_network():
    left_out = [line for block in blocks() for line in block.splitlines() if "(network" in line]
    kinds = ("make ", "pip install", "python sample.py --pretrained", "python train.py --config configs/sashimi.py ")
    assert left_out and all(line.startswith(kinds) for line in left_out)


@functools.cache  # what one guide has compiled serves the next
def stand_in(name: str = "digits"):
    """A tiny model of the kind that a guide loads by this name."""
    if name == "digits":
        return tiny_digits()
    if name == "runs/sashimi_sc09_ar":
        return golden_generator("ar_s4v3_unet_tiny")
    if name == "diffwave_ljspeech":
        return golden_vocoder("vocoder_lmnt_tiny")
    assert name in ("runs/sashimi", "sashimi_diffwave_800k_sc09")
    return tiny_generator()


# What the reader of a guide has at hand.
SOUND = 0.1 * np.random.default_rng(0).standard_normal((2, 1024)).astype(np.float32)
STATES = np.full((1, 3, 4), 0.5 + 1j, np.complex64)  # directions, heads, states
AT_HAND = {
    "autoregressive.md": {"recording": SOUND[0, :64], "audio": SOUND, "tokens": np.zeros((1, 8), np.int32)},
    "kernels.md": {
        **{"dt": np.full(3, 0.01, np.float32), "w": -STATES[0], "b": STATES[0], "p": STATES[0], "c": STATES},
        **{"length": 64, "v": STATES[0], "z": np.exp(1j * np.linspace(0.1, 3, 5)).astype(np.complex64)},
    },
    "vocoder.md": {"audio": SOUND[0], "x": SOUND, "t": np.array([3, 7]), "mels": np.full((2, 80, 4), 0.5, np.float32)},
}
SHORTER = {"length=64_000": "length=640", "generate(16,": "generate(2,", "(4,": "(2,"}


class Enough(Exception):
    """Ends output that has no end."""


def python(path: Path) -> list[str]:
    """A guide's Python code: blocks from where they import the library on."""
    starts = [(block, re.search("^(import|from) diffwave_jax", block, re.MULTILINE)) for block in blocks(path)]
    return [block[start.start() :] for block, start in starts if start]


GUIDES = [path for path in sorted((ROOT / "docs").glob("*.md")) if python(path)]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_the_guides_code_runs(guide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("load", "load_pretrained"):
        monkeypatch.setattr(diffwave_jax, name, stand_in)
    if guide.name == "data.md":
        # Its data alone are kept apart: the kernels that are kept serve all guides.
        monkeypatch.setenv("DIFFWAVE_JAX_CACHE", str(tmp_path / "cache"))
        pack(write_layout(tmp_path / "words", {"one": 3, "two": 3}), tmp_path / "speech_commands_v0.02.tar.gz")
    played = []

    def play(sound):
        played.append(sound)
        if len(played) == 3:
            raise Enough

    names = {**AT_HAND.get(guide.name, {}), "play": play}
    for block in python(guide):
        for full, less in SHORTER.items():
            block = block.replace(full, less)
        with contextlib.suppress(Enough):
            exec(compile(block, guide.name, "exec"), names)
    assert len(played) == (3 if guide.name == "autoregressive.md" else 0)


def test_guides_with_code_are_found():
    assert {path.name for path in GUIDES} >= {*AT_HAND, "converting.md", "data.md", "index.md", "sampling.md"}
