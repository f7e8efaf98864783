"""What a config may hold: one line for each mistake, before any work; and every form that the command line takes."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from configs import classifier, classifier_fsdd, diffwave, digits, sashimi, small, vocoder_8k
from diffwave_jax.config import default_config, from_dict, model_section, to_dict
from diffwave_jax.config_check import check_config
from diffwave_jax.config_rules import RULES
from diffwave_jax.errors import UserError
from tests.helpers.mutations import mutated

ROOT = Path(__file__).parents[1]


@pytest.fixture
def config():
    config = default_config()
    config.model = model_section("sashimi")
    return config


@pytest.mark.parametrize("module", [classifier, classifier_fsdd, diffwave, digits, sashimi, small, vocoder_8k])
def test_the_configs_that_come_along_are_right(module):
    check_config(module.get_config())


def test_every_field_has_a_rule_and_every_rule_a_field(config):
    fields = {
        f"{section}.{field}" if isinstance(values, ConfigDict) else section
        for section, values in config.items()
        for field in (values if isinstance(values, ConfigDict) else [""])
        if section != "model"
    }
    assert fields == set(RULES)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seed", -1, "seed is -1; it must be a whole number from 0 to 4294967295"),
        ("seed", 2**32, "seed is 4294967296; it must be"),
        ("diffusion.num_steps", 0, "a whole number from 1 to"),
        ("diffusion.beta_max", 1.0, "diffusion.beta_max is 1.0; it must be a number above 0 and below 1"),
        ("diffusion.beta_min", 0.5, "diffusion.beta_min is 0.5 and diffusion.beta_max 0.02: the first must not be"),
        ("diffusion.prediction", "x0", "diffusion.prediction is 'x0'; it must be one of noise, v"),
        ("data.shift", -1, "data.shift is -1"),
        ("data.gain", (1.2, 0.8), r"data.gain is \(1.2, 0.8\); it must be two numbers from 0 on, the lower one first"),
        ("data.gain", (1.0,), r"data.gain is \(1.0,\)"),
        ("distill.guided_steps", (199, 26), r"distill.guided_steps is \(199, 26\); it must be no numbers, or two"),
        ("distill.guided_steps", (26,), r"distill.guided_steps is \(26,\)"),
        ("train.ema_decay", 1.0, "train.ema_decay is 1.0; it must be a number from 0 to below 1"),
        ("train.ema_decay", 1.5, "train.ema_decay is 1.5"),
        ("train.learning_rate", -1e-4, "train.learning_rate is -0.0001; it must be a number from 0 on"),
        ("train.learning_rate", float("nan"), "train.learning_rate is nan"),
        ("train.num_steps", 0, "train.num_steps is 0; it must be a whole number from 1"),
        ("train.keep", 0, "train.keep is 0; it must be a whole number from 1"),
        ("train.keep", -1, "train.keep is -1"),
        ("train.schedule", "linear", "train.schedule is 'linear'; it must be one of constant, drop, cosine"),
        ("train.spread_steps", 1, "train.spread_steps is 1; it must be True or False"),
        ("train.batch_size", True, "train.batch_size is True; it must be a whole number"),
        ("sample.guidance", "much", "sample.guidance is 'much'; it must be a number"),
        ("model.n_layers", "x", "model.n_layers is 'x'; it must be of type int | tuple"),
        ("model.d_state", 3, "model config of sashimi: d_state must be"),
        ("train.batchsize", 4, "unknown config field train.batchsize: did you mean train.batch_size"),
        ("trian", 4, "unknown config field trian: did you mean train"),
    ],
)
def test_a_mistake_is_one_line(config, name, value, said):
    section, _, field = name.rpartition(".")
    with config.unlocked(), config.ignore_type():
        target = config[section] if section else config
        target[field] = value
    with pytest.raises(UserError, match=said):
        check_config(config)


def test_a_missing_section_is_named(config):
    with config.unlocked():
        del config.train
    with pytest.raises(UserError, match=r"the config has no train\."):
        check_config(config)


def test_mutated_configs_are_refused_in_one_line_or_taken(config):
    draw, refused = random.Random(0), 0
    for _ in range(200):
        try:
            check_config(from_dict(mutated(to_dict(config), draw)))
        except UserError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("value", [4, (4, 5, 6)])
@pytest.mark.parametrize("now", [3, (1, 2, 3)])
def test_a_field_takes_a_number_and_a_tuple_whatever_it_holds(value, now):
    config = model_section("sashimi", n_layers=now)
    config.lock()
    config.n_layers = value
    assert config.n_layers == value and type(config.n_layers) is type(value)


def _parsed(arguments, tmp_path, text):
    """What a script with the config flag prints, and its error line, for a config file of this text."""
    (tmp_path / "config.py").write_text(text)
    script = (
        "import sys; from ml_collections import config_flags; from diffwave_jax import cli\n"
        "CONFIG = config_flags.DEFINE_config_file('config', None, lock_config=True)\n"
        "cli.run(lambda _: print(CONFIG.value.model.n_layers, CONFIG.value.model.l_max))"
    )
    command = [sys.executable, "-c", script, f"--config={tmp_path / 'config.py'}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


CONFIG = """from diffwave_jax.config import default_config, model_section
def get_config():
    config = default_config()
    config.model = model_section("sashimi", n_layers=(1, 2, 3))
    {line}
    return config
"""


def test_the_command_line_takes_a_number_and_a_tuple(tmp_path):
    arguments = ["--config.model.n_layers=4", "--config.model.l_max=(16000,4000,1000)"]
    done = _parsed(arguments, tmp_path, CONFIG.format(line=""))
    assert done.stdout == "4 (16000, 4000, 1000)\n" and done.stderr == ""


@pytest.mark.parametrize(
    ("line", "argument", "said"),
    [
        ("", "--config.train.batchsize=4", "unknown config field 'train.batchsize': did you mean batch_size?"),
        ("config.train.no.x", "", "config.py, line 5: AttributeError: \"'no'\""),
        ("int('x')", "", "config.py, line 5: ValueError: invalid literal for int() with base 10: 'x'"),
    ],
)
def test_a_mistake_on_the_command_line_or_in_the_file_is_one_line(tmp_path, line, argument, said):
    done = _parsed([argument] * bool(argument), tmp_path, CONFIG.format(line=line))
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.endswith(f"{said}\n") and done.stderr.count("\n") == 1
