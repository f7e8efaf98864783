import json

import numpy as np
import pytest

from diffwave_jax.convert import mapping
from diffwave_jax.convert.infer import infer_model
from diffwave_jax.errors import UserError
from diffwave_jax.models import model_config
from tests.helpers.torch_files import MODELS, golden_folder

PREFIX = "sashimi."
RELEASED = {"sashimi": (656, 23_478_785), "diffwave": (408, 24_071_681)}


def shapes_of(model: dict) -> dict[str, tuple[int, ...]]:
    return {tensor.torch_name: tensor.torch_shape for tensor in mapping.tensors(model)}


@pytest.mark.parametrize("name", RELEASED)
def test_the_released_networks(name):
    tensors = mapping.tensors({"name": name})
    parameters = [tensor for tensor in tensors if not tensor.l_max]
    assert (len(tensors), sum(int(np.prod(tensor.torch_shape)) for tensor in parameters)) == RELEASED[name]
    model = infer_model({tensor.torch_name: tensor.torch_shape for tensor in tensors})
    assert model["length"] == 16000
    assert model_config(model) == model_config({"name": name})


@pytest.mark.skipif(golden_folder() is None, reason="the released models' list of tensors is not beside the project")
@pytest.mark.parametrize("name", RELEASED)
def test_names_shapes_and_order_of_the_released_files(name):
    expected = json.loads((golden_folder() / "released_manifest.json").read_text())[name]
    prefix = PREFIX if name == "sashimi" else ""
    found = [(prefix + torch_name, list(shape)) for torch_name, shape in shapes_of({"name": name}).items()]
    assert found == list(expected.items())


@pytest.mark.parametrize("name", MODELS)
def test_each_weight_has_a_tensor_and_its_layout_there_and_back(name):
    parameters = [tensor for tensor in mapping.tensors(MODELS[name]) if not tensor.l_max]
    shapes = mapping.weight_shapes(MODELS[name])
    assert sorted(tensor.name for tensor in parameters) == sorted(shapes)
    for tensor in parameters:
        array = np.arange(np.prod(tensor.torch_shape)).reshape(tensor.torch_shape)
        ours = tensor.to_ours(array)
        assert {name: value.shape for name, value in ours.items()} == {tensor.name: shapes[tensor.name]}
        np.testing.assert_array_equal(tensor.to_torch(ours), array)


def test_layouts_put_channels_last():
    by_name = {tensor.name: tensor for tensor in mapping.tensors(MODELS["diffwave"])}
    kernel = np.arange(8 * 4 * 3).reshape(8, 4, 3)  # (out, in, tap)
    np.testing.assert_array_equal(_ours(by_name["blocks.0.dilated.v"], kernel)[2, 3, 5], kernel[5, 3, 2])
    matrix = np.arange(512 * 128).reshape(512, 128)  # (out, in)
    np.testing.assert_array_equal(_ours(by_name["embedding.fc1.kernel"], matrix)[7, 100], matrix[100, 7])


def _ours(tensor: mapping.Tensor, array: np.ndarray) -> np.ndarray:
    return tensor.to_ours(array)[tensor.name]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"d_model": 6, "expand": 3, "ff": 3, "pool": (2, 8), "d_state": 4},
        {"n_layers": 2, "glu": False, "tie_state": True},
        {"unet": False, "pool": (2, 2)},
        {"pool": (), "n_layers": 2},
        {"n_layers": (2, 1), "l_max": (64, 32)},
        {"n_layers": (0, 2), "l_max": 16},
    ],
    ids=str,
)
def test_a_sashimi_is_recognised_by_names_and_shapes(fields):
    model = MODELS["sashimi"] | fields
    assert model_config(infer_model(shapes_of(model))) == model_config(model)


def test_a_diffwave_is_recognised_but_for_its_dilation_cycle():
    model = MODELS["diffwave"]
    with pytest.raises(UserError, match=r"2 layers.*--dilation-cycle"):
        infer_model(shapes_of(model))
    assert infer_model(shapes_of(model), dilation_cycle=2, length=64) == model
    assert infer_model(shapes_of(model | {"n_layers": 30}))["dilation_cycle"] == 10


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda shapes: shapes.clear(), "neither SaShiMi.* nor DiffWave.*no tensor"),
        (lambda shapes: shapes.pop("fc_t1.weight"), "neither SaShiMi"),
        (lambda shapes: shapes.pop("init_conv.0.conv.bias"), "lacks the tensor init_conv.0.conv.bias"),
        (lambda shapes: shapes.update({f"d_layers.{n}.linear.weight_v": (4, 4) for n in range(9)}), "9 poolings"),
        (lambda shapes: shapes.update({"init_conv.0.conv.bias": (4, 1)}), "dimensions are expected"),
        (lambda shapes: shapes.update({"d_layers.2.linear.weight_v": (8, 15)}), "multiples of its stage's 4 channels"),
        (lambda shapes: shapes.update({"u_layers.1.0.linear.bias": (1, 1)}), "1 poolings in d_layers, but 2 stages"),
        (lambda shapes: shapes.update({f"c_layers.{n}.x": (1,) for n in range(600)}), "modules c_layers"),
        (lambda shapes: shapes.update({"u_layers.0.1.layer.kernel.kernel.C": (2, 4, 10**6, 2)}), "2000000 states"),
    ],
)
def test_what_is_no_network_of_the_original(change, match):
    shapes = shapes_of(MODELS["sashimi"])
    change(shapes)
    with pytest.raises(UserError, match=match):
        infer_model(shapes)
