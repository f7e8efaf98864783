"""README's commands, run in their order from one folder, as they stand.

Left out are the lines whose comment says "(network". The folder is a copy of the repository that asks less of the
machine: a tiny network stands in for the bundled one, `configs/small.py` trains two steps of a tinier network, and the
two files that the reader is to bring are made up.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from configs.digits import SPEAKERS
from diffwave_jax import checkpoint
from diffwave_jax.config import to_dict
from diffwave_jax.convert.to_torch import write_torch
from tests.helpers.audio_files import pack, write_layout
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


def blocks() -> list[str]:
    """README's indented blocks: commands, or Python."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
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


def bundle(folder: Path) -> None:
    """A tiny network with the words and voices of the bundled one."""
    model = tiny_generator(n_classes=10, n_speakers=len(SPEAKERS))
    model.config.data.speakers = SPEAKERS
    model.config.sample.update(sampler="dpm++sde", steps=3, digit=tuple(range(10)), guidance=2.0)
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
