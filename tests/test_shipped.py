"""Configs by name, and the commands by the module's name."""

import subprocess
import sys
from pathlib import Path

import pytest

from diffwave_jax import shipped
from diffwave_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def test_every_config_has_a_name():
    assert shipped.config_names() == sorted(path.stem for path in (ROOT / "configs").glob("[!_]*.py"))
    for name in shipped.config_names():
        assert Path(shipped.config_file(name)).resolve() == ROOT / "configs" / f"{name}.py"


def test_a_path_stays_as_it_is(tmp_path):
    mine = tmp_path / "sashimi.py"
    mine.write_text("")
    assert shipped.config_file(str(mine)) == str(mine)
    assert shipped.config_file("mine.py:wide") == "mine.py:wide"  # a text for get_config; no file: training says so
    assert shipped.config_file("small:wide").endswith("small.py:wide")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sashmi", "no config is called 'sashmi': did you mean sashimi?"),
        ("x", "there are classifier, "),
        ("no/such/sashimi.py", "no config file at no/such/sashimi.py; did you mean --config sashimi"),
    ],
)
def test_no_such_config(name, said):
    with pytest.raises(UserError) as caught:
        shipped.config_file(name)
    assert said in str(caught.value)


def test_an_unknown_command():
    done = subprocess.run([sys.executable, "-m", "diffwave_jax", "smaple"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: no command is called 'smaple': there are sample, train, evaluate, convert, demo\n"
