import json

import numpy as np
import pytest

import diffwave_jax
from diffwave_jax import UserError
from diffwave_jax.convert.autoregressive import convert, layout_of
from diffwave_jax.convert.commands import convert_from_torch
from diffwave_jax.convert.from_torch import read_torch
from diffwave_jax.convert.ours import read_ours
from diffwave_jax.convert.torch_writer import write_checkpoint
from diffwave_jax.generation.loading import load_diffusion
from diffwave_jax.kernels.truncation import with_length
from diffwave_jax.models.state_space import pairs, state_space
from tests.helpers.autoregressive import TAGS, checkpoint, converted, golden_generator
from tests.helpers.torch_files import golden_folder

FACTS = {
    "ar_rf5_tiny": {"norm": "layer", "code": "mu_law", "l_max": (1024, 1024, 1024)},
    "ar_s4v2_tiny": {"free_q": True},
    "ar_s4v3_tiny": {},
    "ar_s4v3_unet_tiny": {
        "unet": True,
        "tie_state": False,
        "weight_norm_pools": False,
        "d_model": 6,
        "n_layers": (1, 1, 1),
    },
    "ar_s4v4_tiny": {},
}
COMMON = {
    "name": "sashimi_ar",
    "d_model": 8,
    "n_layers": (2, 2, 2),
    "pool": (4, 4),
    "expand": 2,
    "ff": 2,
    "d_state": 64,
    "l_max": (1024, 256, 64),
    "length": 1024,
    "tie_state": True,
    "glu": True,
    "unet": False,
    "norm": "scalar",
    "weight_norm_pools": True,
    "free_q": False,
    "code": "scaled_mu_law",
}


@pytest.mark.parametrize("tag", TAGS)
def test_the_model_is_told_from_names_and_shapes(tag):
    assert converted(tag).model == COMMON | FACTS[tag]


def test_other_networks_are_not_taken_for_one():
    assert layout_of(["encoder.weight", "decoder.weight"]) is None
    assert layout_of(["fc_t1.weight", "c_layers.0.layer.D"]) is None


def test_version_4_must_be_told_what_its_step_sizes_mean():
    with pytest.raises(UserError, match=r"give --dt exp for the released \*_v4.pt"):
        convert(checkpoint("ar_s4v4_tiny"))
    inverse = checkpoint("ar_s4v4_tiny")["model.c_layers.0.layer.layer.kernel.inv_dt"][:, 0]
    found = {
        dt: convert(checkpoint("ar_s4v4_tiny"), dt=dt).weights["center.0.s4.kernel.log_dt"]
        for dt in ("exp", "softplus")
    }
    np.testing.assert_array_equal(found["exp"], inverse)
    # exp of float32's rounding of numbers of about 5
    np.testing.assert_allclose(np.exp(found["softplus"]), np.log1p(np.exp(inverse)), rtol=1e-6)


def test_kernels_without_a_length_get_one():
    """Length 0: C is the true one still, as in a model that has not run yet."""
    tensors = dict(checkpoint("ar_s4v3_tiny"))
    weights = converted("ar_s4v3_tiny").weights
    for name in [name for name in tensors if name.endswith(".kernel.kernel.C") and "c_layers" in name]:
        ours = name.replace("model.c_layers", "center").replace(".layer.kernel.kernel.C", ".s4.kernel.")
        ssm = state_space({part: weights[ours + part] for part in ("log_dt", "log_w_real", "w_imag", "B", "P", "C")})
        tensors[name] = pairs(with_length(ssm.dt, ssm.w, ssm.p, ssm.c, 64, None)).astype(np.float32)
        tensors[name[:-1] + "L"] = np.zeros((), np.int64)
    found = convert(tensors, length=1024)
    assert found.model == converted("ar_s4v3_tiny").model
    before, after = weights["center.0.s4.kernel.C"], found.weights["center.0.s4.kernel.C"]
    assert np.abs(after - tensors["model.c_layers.0.layer.kernel.kernel.C"]).max() > 0.01
    # C went through float32 once more.
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-6 * np.abs(before).max())


def test_kernels_that_all_lack_a_length():
    tensors = {name: array * (not name.endswith(".L")) for name, array in checkpoint("ar_s4v3_unet_tiny").items()}
    with pytest.raises(UserError, match="give --length"):
        convert(tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.norm.bias": None}, "lacks the tensor for norm.bias"),
        ({"model.c_layers.1.norm.norm.m": None}, r"lacks the tensor for center.1.norm.shift"),
        ({"model.c_layers.0.layer.kernel.kernel.L": None}, "lacks the tensor for center.0.s4.kernel.L"),
        ({"model.c_layers.0.layer.kernel.kernel.L": np.array(-5)}, "is no length"),
        ({"model.c_layers.0.layer.D": np.zeros((1, 3))}, r"model.c_layers.0.layer.D has shape \(3,\), where \(32,\)"),
        ({"model.extra": np.zeros(3)}, "'model.extra' that the originals"),
        ({"encoder.0.weight": np.zeros(3)}, r"has shape \(3,\): it is not one of the originals'"),
        ({"model.d_layers.0.linear.bias": None}, "1 poolings down, but 2 up"),
    ],
    ids=str,
)
def test_damaged_checkpoints(change, message):
    tensors = {name: array for name, array in (checkpoint("ar_s4v3_tiny") | change).items() if array is not None}
    with pytest.raises(UserError, match=message):
        convert(tensors)


WRAPPINGS = {
    "ar_rf5_tiny": lambda tensors: {"model_state_dict": tensors, "steps": 1100, "cfg_yaml": "d_model: 8"},
    "ar_s4v3_unet_tiny": lambda tensors: tensors,
    "ar_s4v4_tiny": lambda tensors: {
        "state_dict": tensors,
        "pytorch-lightning_version": "1.5.1",
        "global_step": 1100,
        "optimizer_states": [{"state": {}, "param_groups": []}],
    },
}


@pytest.mark.parametrize("tag", WRAPPINGS)
def test_a_file_becomes_a_run(tag, tmp_path):
    """A bare state dict, RF5's and Lightning's: converted, loaded and told apart from a diffusion model."""
    write_checkpoint(tmp_path / "model.pt", WRAPPINGS[tag](checkpoint(tag)))
    dt = "softplus" if tag == "ar_s4v4_tiny" else None
    lines = convert_from_torch(tmp_path / "model.pt", tmp_path / "run", dt=dt)
    assert lines[0].startswith("autoregressive SaShiMi, ")
    assert ("step 1100" in lines[0]) == (tag != "ar_s4v3_unet_tiny")
    model = diffwave_jax.load(tmp_path / "run")
    assert isinstance(model, diffwave_jax.AutoregressiveGenerator)
    assert model.fingerprint == golden_generator(tag).fingerprint
    assert model.length == 1024
    with pytest.raises(UserError, match="holds an autoregressive model"):
        load_diffusion(tmp_path / "run")
    with pytest.raises(UserError, match="only diffusion models are converted back"):
        read_ours(tmp_path / "run")


def test_the_originals_files():
    """Those that PyTorch wrote, Lightning's with its options and optimizer among them."""
    folder = golden_folder()
    if folder is None or not (folder / "ar").is_dir():
        pytest.skip("needs the reference files beside the project")
    files = sorted([*(folder / "ar").glob("*.pt"), *(folder / "ar").glob("*.ckpt")])
    assert len(files) == 9
    for file in files:
        tag = file.stem.removesuffix("_optimizer")
        found = read_torch(file, dt="softplus")
        assert found.model == COMMON | FACTS[tag]
        for name, expected in converted(tag).weights.items():
            np.testing.assert_array_equal(found.weights[name], expected, err_msg=f"{file.name}: {name}")


def test_the_released_sizes():
    """Every tensor's name and shape at the published sizes, and the number of parameters."""
    folder = golden_folder()
    if folder is None or not (folder / "ar").is_dir():
        pytest.skip("needs the reference files beside the project")
    for name, released in json.loads((folder / "ar" / "ar_manifest.json").read_text()).items():
        tensors = {tensor: np.zeros(shape, np.float32) for tensor, shape in released["tensors"].items()}
        lengths = {tensor: np.array(16000) for tensor in tensors if tensor.endswith((".L", ".l_kernel"))}
        found = convert(tensors | lengths, dt="exp")
        # Those of state-spaces/s4 count the same; lengths and tables are no parameters.
        assert sum(array.size for array in found.weights.values()) == released["parameters"], name
        assert found.model["d_model"] == 64 and found.model["n_layers"] == (8, 8, 8), name
        assert found.model["glu"] == (name != "s4v2_youtubemix"), name
