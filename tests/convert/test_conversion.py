import dataclasses

import chex
import jax
import numpy as np
import optax
import pytest
import torch

from diffwave_jax import checkpoint, load
from diffwave_jax.config import to_dict
from diffwave_jax.convert import mapping
from diffwave_jax.convert.commands import convert_from_torch, convert_to_torch
from diffwave_jax.convert.contents import Contents
from diffwave_jax.convert.from_torch import read_torch
from diffwave_jax.convert.ours import config_of, read_ours, write_ours
from diffwave_jax.convert.to_torch import kernel_nodes, write_torch
from diffwave_jax.errors import UserError
from diffwave_jax.generation.generator import Generator
from diffwave_jax.training.optimizer import learning_rate, make_optimizer, resumed_adam
from tests.helpers.torch_files import MODELS, random_contents

OPTIONS = {"sashimi": {}, "diffwave": {"dilation_cycle": 2, "length": 64}}


@pytest.fixture(params=MODELS)
def name(request) -> str:
    return request.param


@pytest.fixture
def original(tmp_path, name):
    """A checkpoint in PyTorch's format, and what torch reads from it."""
    write_torch(tmp_path / "original.pt", random_contents(MODELS[name]))
    return tmp_path / "original.pt", torch.load(tmp_path / "original.pt", weights_only=True)


def save(path, saved) -> str:
    torch.save(saved, path)
    return path


def same(first: Contents, second: Contents):
    assert (first.step, first.learning_rate) == (second.step, second.learning_rate)
    chex.assert_trees_all_equal(dict(first.weights), dict(second.weights))
    if first.adam or second.adam:
        assert first.adam.count == second.adam.count
        chex.assert_trees_all_equal((first.adam.mu, first.adam.nu), (second.adam.mu, second.adam.nu))


@pytest.mark.parametrize("zipped", [True, False])
def test_what_is_written_is_read_in_both_formats(tmp_path, name, original, zipped):
    torch.save(original[1], tmp_path / "again.pt", _use_new_zipfile_serialization=zipped)
    contents = read_torch(tmp_path / "again.pt", **OPTIONS[name])
    assert contents.model.items() >= MODELS[name].items()
    same(contents, random_contents(MODELS[name]))


@pytest.mark.parametrize(
    "fields", [{"tie_state": True, "glu": False}, {"unet": False}, {"pool": (2, 2), "expand": 3, "ff": 1}], ids=str
)
def test_every_option_of_a_sashimi(tmp_path, fields):
    contents = random_contents(MODELS["sashimi"] | fields)
    write_torch(tmp_path / "x.pt", contents)
    same(read_torch(tmp_path / "x.pt"), contents)


def test_to_ours_and_back_changes_no_bit(tmp_path, name, original):
    path, before = original
    lines = convert_from_torch(path, tmp_path / "run", clip_length=64, dilation_cycle=2)
    assert lines[0] == {"sashimi": "SaShiMi, step 7", "diffwave": "DiffWave, step 7"}[name]
    assert lines[1].startswith(f"{name}: ") and "Adam state after 7 updates" in lines[2]
    convert_to_torch(tmp_path / "run", tmp_path / "back.pt")
    after = torch.load(tmp_path / "back.pt", weights_only=True)
    assert list(after["model_state_dict"]) == list(before["model_state_dict"])
    for part in ("model_state_dict", "optimizer_state_dict"):
        torch.testing.assert_close(after[part], before[part], rtol=0, atol=0)
    assert (after["steps"], after["lr"]) == (before["steps"], before["lr"])


def step(optimizer, gradients, state, weights):
    updates, _ = optimizer.update(gradients, state, weights)
    return optax.apply_updates(weights, updates)


def test_torch_and_optax_take_the_same_next_step(tmp_path, name, original):
    """Adam of PyTorch, from the exported state, and ours, from the converted one, with the same random gradients."""
    path, saved = original
    contents = read_torch(path, **OPTIONS[name])
    tensors = [tensor for tensor in mapping.tensors(contents.model) if not tensor.l_max]
    rng = np.random.default_rng(1)
    gradients = {tensor.name: rng.normal(size=contents.weights[tensor.name].shape) for tensor in tensors}
    gradients = {key: value.astype(np.float32) for key, value in gradients.items()}

    values = [value for key, value in saved["model_state_dict"].items() if not key.endswith((".omega", ".z"))]
    parameters = [torch.nn.Parameter(value) for value in values]
    adam = torch.optim.Adam(parameters)
    adam.load_state_dict(saved["optimizer_state_dict"])
    for parameter, tensor in zip(parameters, tensors, strict=True):
        parameter.grad = torch.tensor(tensor.to_torch(gradients))
    adam.step()

    train, ours = config_of(contents).train, contents.adam
    state = resumed_adam(train, contents.weights, ours.mu, ours.nu, ours.count)
    stepped = jax.jit(lambda gradients, state, weights: step(make_optimizer(train), gradients, state, weights))(
        gradients, state, contents.weights
    )
    for parameter, tensor in zip(parameters, tensors, strict=True):
        found = tensor.to_torch(stepped)
        # One float32 spacing of the values, and one of updates up to 1e-3 where the values are small.
        np.testing.assert_allclose(found, parameter.detach().numpy(), rtol=1.2e-7, atol=1e-9)


def test_a_parameter_without_a_gradient_has_no_state_in_torch(tmp_path):
    """Such as DiffWave's last residual convolution; its moments are zero here and left out there."""
    contents = random_contents(MODELS["diffwave"])
    for moments in (contents.adam.mu, contents.adam.nu):
        moments["blocks.1.residual.v"][:] = 0
    write_torch(tmp_path / "x.pt", contents)
    state = torch.load(tmp_path / "x.pt", weights_only=True)["optimizer_state_dict"]["state"]
    names = [tensor.name for tensor in mapping.tensors(contents.model)]
    assert set(range(len(names))) - set(state) == {names.index("blocks.1.residual.v")}
    same(read_torch(tmp_path / "x.pt", **OPTIONS["diffwave"]), contents)


def test_steps_that_old_versions_of_torch_saved_as_numbers(tmp_path, name, original):
    _, saved = original
    for entry in saved["optimizer_state_dict"]["state"].values():
        entry["step"] = 7
    same(read_torch(save(tmp_path / "x.pt", saved), **OPTIONS[name]), random_contents(MODELS[name]))


def test_a_checkpoint_of_weights_alone(tmp_path, name, original):
    _, saved = original
    path = save(tmp_path / "x.pt", {"model_state_dict": saved["model_state_dict"]})
    contents = read_torch(path, **OPTIONS[name])
    assert (contents.step, contents.learning_rate, contents.adam) == (0, None, None)
    write_ours(tmp_path / "run", contents)
    assert read_ours(tmp_path / "run").adam is None
    assert load(tmp_path / "run").num_parameters == sum(value.size for value in contents.weights.values())


def test_kernel_nodes_are_roots_of_unity_but_for_the_last_which_must_not_be_minus_one():
    omega, z = (kernel_nodes(name, 16000).astype(np.float64) for name in ("omega", "z"))
    exact = np.exp(-2j * np.pi * np.arange(8001) / 16000)
    np.testing.assert_allclose(omega[:, 0] + 1j * omega[:, 1], exact, atol=6e-8)  # half a float32 spacing below 1
    assert -1 < omega[-1, 0] < -0.9999999
    assert np.all(np.isfinite(z))
    expected = 2 * (1 - exact[:-1]) / (1 + exact[:-1])
    np.testing.assert_allclose(z[:-1, 1], expected.imag, rtol=1e-7)  # float32's precision


def edited(saved: dict, part: str, change) -> dict:
    """The checkpoint with one of its dicts changed."""
    copy = dict(saved[part])
    change(copy)
    return {**saved, part: copy}


CENTER = "sashimi.c_layers.0.layer"
C = f"{CENTER}.kernel.kernel.C"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda state: state.pop(f"{CENTER}.D"),
            "lacks the tensor c_layers.0.layer.D, which its other tensors ask for",
        ),
        (
            lambda state: state.update({C: state[C][..., :1]}),
            r"c_layers.*C is float32 \(2, 8, 4, 1\), expected.*\(2, 8, 4, 2\)",
        ),
        (lambda state: state.update({C: state[C].long()}), r"C is int64 .*expected float32"),
        (lambda state: state.update({"sashimi.extra": torch.zeros(1)}), "a tensor 'extra'"),
        (lambda state: state.update({"sashimi._orig_mod.fc_t1.weight": torch.zeros(1)}), "two tensors of one name"),
        (lambda state: state.update({"sashimi.norm.weight": 3}), "lacks the tensor norm.weight"),
    ],
)
def test_tensors_that_do_not_fit_are_named_with_what_was_expected(tmp_path, change, match):
    write_torch(tmp_path / "x.pt", random_contents(MODELS["sashimi"]))
    saved = torch.load(tmp_path / "x.pt", weights_only=True)
    with pytest.raises(UserError, match=match):
        read_torch(save(tmp_path / "y.pt", edited(saved, "model_state_dict", change)))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda state: state.pop("param_groups"), "not Adam's"),
        (lambda state: state["param_groups"][0].update(betas=(0.5, 0.9)), r"betas is \(0.5, 0.9\)"),
        (lambda state: state["param_groups"][0].update(weight_decay=0.1), "weight_decay is 0.1"),
        (lambda state: state["param_groups"][0]["params"].pop(), "parameters, expected"),
        (lambda state: state["state"][0].pop("exp_avg_sq"), "exp_avg_sq of init_conv.0.conv.bias is missing"),
        (
            lambda state: state["state"][0].update(exp_avg=torch.zeros(3)),
            r"exp_avg of init_conv.0.conv.bias is .*\(3,\)",
        ),
        (lambda state: state["state"][0].update(step=torch.tensor(6.0)), r"different numbers of updates: \[6, 7\]"),
        (lambda state: state["state"][0].update(step=-1), "Adam's step is -1"),
    ],
)
def test_optimizer_states_that_do_not_fit(tmp_path, change, match):
    write_torch(tmp_path / "x.pt", random_contents(MODELS["diffwave"]))
    saved = torch.load(tmp_path / "x.pt", weights_only=True)
    change(saved["optimizer_state_dict"])
    path = save(tmp_path / "y.pt", saved)
    with pytest.raises(UserError, match=match + ".*--weights-only|" + match):
        read_torch(path, **OPTIONS["diffwave"])
    assert read_torch(path, **OPTIONS["diffwave"], optimizer=False).adam is None


@pytest.mark.parametrize(
    ("saved", "match"),
    [
        ([1, 2], "no state dict, .*found a list"),
        ({"state_dict": {}}, "found 'state_dict'"),
        ({"model_state_dict": {"fc.weight": torch.zeros(2)}}, "neither SaShiMi's norm.m nor DiffWave's"),
        ({"model_state_dict": {"fc.weight": torch.zeros(2)}}, "'fc.weight'"),
    ],
)
def test_files_of_something_else(tmp_path, saved, match):
    with pytest.raises(UserError, match=match):
        read_torch(save(tmp_path / "x.pt", saved))


def test_a_step_that_is_no_number(tmp_path, original, name):
    with pytest.raises(UserError, match="steps is 'many', expected a number from 0 on"):
        read_torch(save(tmp_path / "x.pt", {**original[1], "steps": "many"}), **OPTIONS[name])


def test_per_stage_lengths_give_the_same_output_and_go_back_on_export(tmp_path):
    contents = random_contents(MODELS["sashimi"])
    write_torch(tmp_path / "x.pt", contents)
    lines = convert_from_torch(tmp_path / "x.pt", tmp_path / "run", per_stage_length=True)
    assert any("l_max is now (64, 16); largest difference of the output" in line for line in lines)
    model = load(tmp_path / "run")
    assert model.config.model.l_max == (64, 16)
    x, t = np.random.default_rng(0).normal(size=(2, 64)).astype(np.float32), np.array([3, 150])
    expected = Generator(config_of(contents), contents.weights).predict_noise(x, t)
    # Outputs are of order 1; C is rounded to float32 once, and the network computes in float32.
    np.testing.assert_allclose(model.predict_noise(x, t), expected, rtol=0, atol=1e-5)
    assert any("one l_max for all stages" in line for line in convert_to_torch(tmp_path / "run", tmp_path / "y.pt"))
    back = read_torch(tmp_path / "y.pt")
    assert (back.model["l_max"], back.adam) == (64, None)
    name = "center.0.s4.kernel.C"
    np.testing.assert_allclose(back.weights[name], contents.weights[name], rtol=0, atol=5e-6)  # two roundings


def test_averaged_weights_are_exported_unless_the_raw_ones_are_asked_for(tmp_path, name):
    contents = random_contents(MODELS[name])
    run = tmp_path / "run"
    averaged = {key: value + 1 for key, value in contents.weights.items()}
    adam = resumed_adam(config_of(contents).train, contents.weights, contents.adam.mu, contents.adam.nu, 7)
    config = to_dict(config_of(contents))
    checkpoint.save(run, 7, params=contents.weights, ema=averaged, optimizer=adam, config=config)
    convert_to_torch(run, tmp_path / "averaged.pt")
    convert_to_torch(run, tmp_path / "raw.pt", ema=False)
    found = read_torch(tmp_path / "averaged.pt", **OPTIONS[name])
    chex.assert_trees_all_equal(dict(found.weights), averaged)
    assert found.adam is None
    same(read_torch(tmp_path / "raw.pt", **OPTIONS[name]), contents)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"n_classes": 10}, "10 classes"),
        ({"n_layers": (0, 1)}, "one n_layers"),
        ({"l_max": 65}, "even l_max"),
        ({"output_taps": 3}, "has output_taps"),
    ],
)
def test_networks_that_the_original_does_not_know(tmp_path, fields, match):
    with pytest.raises(UserError, match=match):
        write_torch(tmp_path / "x.pt", random_contents(MODELS["sashimi"] | fields))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("network", "count", "rate", "expected"),
    [
        ("sashimi", 800_001, 4e-5, 4e-5),
        ("sashimi", 500_001, 2e-4, 4e-5),  # the original lowers it right after saving step 500,000
        ("sashimi", 400_001, 2e-4, 2e-4),
        ("sashimi", 400_001, 1e-3, 1e-3),
        ("diffwave", 1_000_001, 2e-4, 2e-4),
    ],
)
def test_the_learning_rate_of_the_next_step(network, count, rate, expected):
    contents = random_contents(MODELS[network])
    contents = dataclasses.replace(contents, learning_rate=rate, adam=dataclasses.replace(contents.adam, count=count))
    np.testing.assert_allclose(learning_rate(config_of(contents).train)(count), expected, rtol=1e-6)  # float32


def test_a_folder_with_checkpoints_is_left_alone(tmp_path, name):
    contents = random_contents(MODELS[name])
    write_ours(tmp_path / "run", contents)
    with pytest.raises(UserError, match="has checkpoints already"):
        write_ours(tmp_path / "run", contents)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        write_ours(tmp_path / "file", contents)


@pytest.mark.parametrize(
    ("diffusion", "message"),
    [({"prediction": "v"}, "this one predicts v"), ({"signal_scale": 10.0}, r"audio times 10.0 \(signal_scale\)")],
)
def test_a_network_that_predicts_something_else_is_refused(tmp_path, diffusion, message):
    contents = random_contents(MODELS["sashimi"])
    config = config_of(contents)
    config.diffusion.update(diffusion)
    checkpoint.save(tmp_path / "run", 1, params=contents.weights, config=to_dict(config))
    with pytest.raises(UserError, match=message):
        convert_to_torch(tmp_path / "run", tmp_path / "x.pt")
    assert not (tmp_path / "x.pt").exists()
