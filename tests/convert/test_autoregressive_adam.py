"""Training of the originals' autoregressive checkpoints goes on as the originals' own programs would."""

import functools
import json
from pathlib import Path

import chex
import jax
import numpy as np
import optax
import pytest

from configs import sashimi_ar
from diffwave_jax import AutoregressiveGenerator, UserError, load
from diffwave_jax.convert.autoregressive import convert, our_names
from diffwave_jax.convert.autoregressive_adam import _kind
from diffwave_jax.convert.commands import convert_from_torch
from diffwave_jax.convert.from_torch import read_torch
from diffwave_jax.convert.ours import config_of
from diffwave_jax.convert.torch_writer import write_checkpoint
from diffwave_jax.models import weights
from diffwave_jax.training.feed import data_mesh
from diffwave_jax.training.optimizer import make_optimizer, resumed_adam
from diffwave_jax.training.run_checkpoints import RunCheckpoints
from diffwave_jax.training.step import init_state, shardings
from diffwave_jax.training.tasks import make_task
from tests.helpers.autoregressive import checkpoint
from tests.helpers.torch_files import golden_folder

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = {
    "ar_rf5_tiny": "ar_rf5_tiny.pt",
    "ar_s4v2_tiny": "ar_s4v2_tiny_optimizer.pt",
    "ar_s4v3_tiny": "ar_s4v3_tiny_optimizer.pt",
    "ar_s4v3_unet_tiny": "ar_s4v3_unet_tiny_optimizer.pt",
    "ar_s4v4_tiny": "ar_s4v4_tiny.ckpt",
}
# Of the three that share their optimizer's program and the network's code, the largest is enough for every change.
LONG = pytest.mark.torture
RESUMED = [
    "ar_rf5_tiny",
    pytest.param("ar_s4v2_tiny", marks=LONG),
    pytest.param("ar_s4v3_tiny", marks=LONG),
    "ar_s4v3_unet_tiny",
    "ar_s4v4_tiny",
]
# Nats. The original's own float32 is off by 0.4e-6 to 1.1e-6; its gradients' rounding moves each of six steps.
LOSS_BOUND = 5e-6
RATES = {"ar_rf5_tiny": (4e-3, 1e-3, 0), "ar_s4v2_tiny": (4e-3, 1e-3, 0), "ar_s4v3_unet_tiny": (1e-3, 1e-3, 0.1)}


def _reference():
    folder = golden_folder()
    if folder is None or not (folder / "ar").is_dir():
        pytest.skip("needs the reference files beside the project")
    return folder / "ar"


def _batches(golden):
    """The six training batches as tokens, and how many of each clip's count."""
    if "resume_rows" in golden:
        rows = golden["resume_rows"].astype(np.int32)
        return rows, np.full(rows.shape[:2], rows.shape[2], np.int32)
    y = golden["resume_y"].astype(np.int32)
    counted = y[:, :, 1:] >= 0
    np.testing.assert_array_equal(golden["resume_x"][:, :, 1:][counted], y[:, :, :-1][counted])
    return np.where(y < 0, 128, y), (y >= 0).sum(axis=2).astype(np.int32)


@pytest.mark.parametrize("tag", RESUMED)
def test_training_continues_where_it_stood(tag):
    folder = _reference()
    contents = read_torch(folder / FILES[tag], dt="softplus")
    assert contents.adam is not None and contents.adam.count == 3
    rates = (contents.learning_rate, contents.state_learning_rate, contents.weight_decay)
    assert rates == RATES.get(tag, (1e-3, 1e-3, 0))
    config, golden = config_of(contents), dict(np.load(folder / f"{tag}.npz"))
    optimizer, task = make_optimizer(config.train), make_task(config)
    graph, _ = weights.abstract(task.build)

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": "0"})  # compiling takes longest
    def step(params, state, tokens, recorded):
        def mean_loss(params):
            batch = {"tokens": tokens, "recorded": recorded}
            metrics = task.loss(weights.merge(graph, params), batch, jax.random.key(0))[1]
            return metrics["loss"][0] / metrics["loss"][1]

        loss, gradient = jax.value_and_grad(mean_loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, loss

    params, losses = contents.weights, []
    state = resumed_adam(config.train, params, contents.adam.mu, contents.adam.nu, contents.adam.count)
    for tokens, recorded in zip(*_batches(golden), strict=True):
        params, state, loss = step(params, state, tokens, recorded)
        losses.append(float(loss))
    np.testing.assert_allclose(losses, golden["resume_loss"], rtol=0, atol=LOSS_BOUND)
    ended = dict(np.load(folder / f"{tag}_resumed_params.npz"))
    for name, expected in convert(_with_tables(tag, ended), dt="softplus").weights.items():
        bound = _bound(tag, name)
        np.testing.assert_allclose(np.asarray(params[name]), expected, rtol=0, atol=bound, err_msg=name)


def _bound(tag, name):
    if name.endswith((".w_imag", ".w")):
        return 3e-4  # float32 spacings of 1300, the largest, are 1.2e-4: an update of 1e-3 is rounded each time
    if tag == "ar_s4v4_tiny" and name.endswith(".log_dt"):
        return 4e-4  # the original's step is one of inv_dt, ours of the logarithm of its softplus: 5 % other at 0.1
    return 2e-5  # float32, in six steps of up to 4e-3 each


def _with_tables(tag, params):
    """The parameters, with the checkpoint's lengths of kernels, which training leaves as they are."""
    return {**checkpoint(tag), **params}


def _saved(tag, groups, *, settings=()):
    """A checkpoint whose optimizer sorts its parameters into these groups of kinds, in the network's order in each."""
    tensors = checkpoint(tag)
    ours = our_names(tensors)
    parameters = [name for name in tensors if not ours[name].endswith((".omega", ".z", ".L", ".l_kernel"))]
    random, state, param_groups = np.random.default_rng(0), {}, []
    for kinds, lr, decay in groups:
        numbers = []
        for name in (name for name in parameters if _kind(ours[name]) in kinds):
            numbers.append(len(state))
            moments = {key: random.random(tensors[name].shape, np.float32) for key in ("exp_avg", "exp_avg_sq")}
            state[len(state)] = {"step": 7, **moments}
        plain = {"lr": lr, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": decay, "amsgrad": False}
        param_groups.append({**plain, **dict(settings), "params": numbers})
    return {"model_state_dict": tensors, "optim_state_dict": {"state": state, "param_groups": param_groups}}


BASE, INNER, STATE = {"rest", "C", "final norm"}, {"inner"}, {"state"}
GROUPS = [(BASE, 1e-3, 0.1), (INNER, 1e-3, 0.0), (STATE, 5e-4, 0.0)]


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1)])
def test_groups_are_told_by_their_shapes(tmp_path, order):
    content = _saved("ar_s4v3_unet_tiny", [GROUPS[place] for place in order])
    write_checkpoint(tmp_path / "model.pt", content)
    contents = read_torch(tmp_path / "model.pt")
    assert (contents.learning_rate, contents.state_learning_rate, contents.weight_decay) == (1e-3, 5e-4, 0.1)
    assert contents.adam is not None and contents.adam.count == 7
    saved = content["optim_state_dict"]
    numbers = [group["params"] for group in saved["param_groups"]]
    first_base, first_state = numbers[0][0], numbers[order.index(2)][0]
    for kept, key in ((contents.adam.mu, "exp_avg"), (contents.adam.nu, "exp_avg_sq")):
        assert kept.keys() == contents.weights.keys()
        np.testing.assert_array_equal(kept["down.0.s4.D"], saved["state"][first_base][key][0])
        np.testing.assert_array_equal(kept["down.0.s4.kernel.log_dt"], saved["state"][first_state][key])
    config = config_of(contents)
    assert (config.train.task, config.train.schedule, config.train.state_learning_rate) == (
        "autoregression",
        "plateau",
        5e-4,
    )


def test_version_4s_moments_follow_its_step_sizes(tmp_path):
    """What the original steps is inv_dt, ours log_dt = log(softplus(inv_dt)); its w_imag has the other sign."""
    groups = [({"rest"}, 1e-3, 0.0), ({"C"}, 1e-3, 0.0), ({"inner", "final norm"}, 1e-3, 0.0), (STATE, 1e-3, 0.0)]
    content = _saved("ar_s4v4_tiny", groups)
    write_checkpoint(tmp_path / "model.pt", content)
    found = {dt: read_torch(tmp_path / "model.pt", dt=dt).adam for dt in ("exp", "softplus")}
    inverse = checkpoint("ar_s4v4_tiny")["model.c_layers.0.layer.layer.kernel.inv_dt"][:, 0].astype(np.float64)
    slope = 1 / (1 + np.exp(-inverse)) / np.log1p(np.exp(inverse))  # of log_dt by inv_dt
    name = "center.0.s4.kernel.log_dt"
    for key, power in (("mu", 1), ("nu", 2)):
        exact, followed = (getattr(found[dt], key) for dt in ("exp", "softplus"))
        np.testing.assert_allclose(followed[name], exact[name] / slope**power, rtol=1e-6)  # float32
        assert np.sign(np.asarray(exact["center.0.s4.kernel.w_imag"])).min() == (-1 if power == 1 else 1)


@pytest.mark.parametrize(
    ("groups", "settings", "message"),
    [
        ([GROUPS[0]], {}, "groups of 34 parameters are not those of the originals' programs for these 98"),
        (GROUPS, {"betas": (0.8, 0.9)}, r"Adam's betas is \(0.8, 0.9\), not \(0.9, 0.999\)"),
        ([*GROUPS[:1], (INNER, 2e-3, 0.0), GROUPS[2]], {}, "other rates or decay than S4's recipes"),
        ([*GROUPS[:1], (INNER, 1e-3, 0.1), GROUPS[2]], {}, "other rates or decay than S4's recipes"),
        (GROUPS, {"lr": "x"}, "the optimizer's lr is 'x'"),
    ],
    ids=["fewer", "betas", "rate", "decay", "text"],
)
def test_other_optimizers_are_refused(tmp_path, groups, settings, message):
    write_checkpoint(tmp_path / "model.pt", _saved("ar_s4v3_unet_tiny", groups, settings=settings.items()))
    with pytest.raises(UserError, match=f"{message}.*; convert with --weights-only"):
        read_torch(tmp_path / "model.pt")
    assert read_torch(tmp_path / "model.pt", optimizer=False).adam is None


def test_each_stage_gets_its_length(tmp_path):
    """RF5's kernels are 1024 samples long at every stage; the optimizer's state cannot follow."""
    write_checkpoint(tmp_path / "model.pt", _saved("ar_rf5_tiny", [(BASE | INNER, 4e-3, 0), (STATE, 1e-3, 0)]))
    lines = convert_from_torch(tmp_path / "model.pt", tmp_path / "run", per_stage_length=True)
    assert any(line.startswith("l_max is now (1024, 256, 64); largest difference of the output") for line in lines)
    model, golden = load(tmp_path / "run"), dict(np.load(GOLDEN / "ar_rf5_tiny.npz"))
    assert isinstance(model, AutoregressiveGenerator) and model.config.model.l_max == (1024, 256, 64)
    # As of the kernels as they are, see tests/models/test_autoregressive.py; C was rounded to float32 once more.
    np.testing.assert_allclose(
        model.logits(golden["x"].astype(np.int32))[:, -8:], golden["logits_last8"], rtol=0, atol=2e-5
    )


def test_the_trainer_restores_the_converted_state(tmp_path):
    """With moments, and a plateau that has seen no validation yet."""
    write_checkpoint(tmp_path / "model.pt", _saved("ar_s4v3_unet_tiny", GROUPS))
    convert_from_torch(tmp_path / "model.pt", tmp_path / "run")
    contents = read_torch(tmp_path / "model.pt")
    assert contents.adam is not None
    config = config_of(contents)
    optimizer, lines = make_optimizer(config.train), []
    like = jax.eval_shape(lambda params: init_state(params, optimizer, 0.0), contents.weights)
    with RunCheckpoints(tmp_path / "run", config, lines.append) as runs:
        state = runs.restore(like, shardings(data_mesh())[0], lambda position: None)
    assert state is not None and (int(state.step), lines) == (7, [])
    chex.assert_trees_all_equal(state.params, contents.weights)
    expected = resumed_adam(config.train, contents.weights, contents.adam.mu, contents.adam.nu, 7)
    chex.assert_trees_all_equal(state.optimizer, expected)


def test_the_papers_config_is_that_of_the_released_model():
    """A converted SC09 model of version 3 goes on with it: every field of the network is the same."""
    released = json.loads((_reference() / "ar_manifest.json").read_text())["s4v3_sc09"]["tensors"]
    tensors = {name: np.zeros(shape, np.float32) for name, shape in released.items()}
    lengths = {"model.c_": 1000, "model.u_layers.0": 4000, "model.u_layers.1": 16000}
    for name in (name for name in tensors if name.endswith(".L")):
        tensors[name] = np.array(next(value for stage, value in lengths.items() if name.startswith(stage)))
    found, config = convert(tensors).model, sashimi_ar.get_config().model.to_dict()
    assert {name: config[name] for name in found} == found
