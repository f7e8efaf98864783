"""Checkpoints as people have them, wrapped, converted, with other data beside the weights: each with its values."""

import argparse
import collections
import json
import pathlib
import struct
import time

import ml_dtypes
import numpy as np
import pytest
import torch

from diffwave_jax.convert.commands import convert_from_torch, describe
from diffwave_jax.convert.from_torch import read_torch
from diffwave_jax.convert.ours import read_ours
from diffwave_jax.convert.to_torch import write_torch
from diffwave_jax.errors import UserError
from tests.helpers.torch_files import MODELS, random_contents

CONTENTS = random_contents(MODELS["sashimi"])
STATE, ADAM = "model_state_dict", "optimizer_state_dict"


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("original") / "original.pt"
    write_torch(path, CONTENTS)
    return path


@pytest.fixture
def saved(original) -> dict:
    """What `torch.load` reads, for a test to change."""
    return torch.load(original, weights_only=True)


def prefixed(state: dict, prefix: str) -> dict:
    return {prefix + name: tensor for name, tensor in state.items()}


def renamed(state: dict, *pairs: tuple[str, str]) -> dict:
    for old, new in pairs:
        state = {name.replace(old, new): tensor for name, tensor in state.items()}
    return state


def of_tensors(change):
    """A change of the whole checkpoint from one of each of its weights."""
    return lambda c: {**c, STATE: {name: change(tensor) for name, tensor in c[STATE].items()}}


def of_names(change):
    return lambda c: {**c, STATE: change(c[STATE])}


def with_beside(**values):
    return lambda c: {**c, **values}


def in_adam(change):
    def changed(c: dict) -> dict:
        change(c[ADAM])
        return c

    return changed


NEW_NORM = (("weight_g", "parametrizations.weight.original0"), ("weight_v", "parametrizations.weight.original1"))
BESIDE = {
    "rng state": torch.get_rng_state(),
    "rng states": [torch.get_rng_state()] * 2,
    "mask": torch.ones(3, dtype=torch.bool),
    "complex": torch.ones(3, dtype=torch.complex64),
    "float8": torch.ones(3).to(torch.float8_e4m3fn),
    "uint16": torch.ones(3, dtype=torch.uint16),
    "empty": torch.zeros(0),
    "negated view": torch.view_as_complex(torch.ones(2, 2)).conj().imag,
    "numpy": [
        np.float64(2e-4),
        np.float32(0.1),
        np.arange(4.0),
        np.random.get_state(),
        np.dtype(">f4"),
    ],
    "python": [{"a", "b"}, frozenset({1}), b"\x00\x01", bytearray(9), 2j, range(3), slice(1), 10**30, -5, None],
    "keys": {-1: 0, (1, 2): 3, None: 4, 0.5: 6, True: 7},
    "namespace": argparse.Namespace(lr=2e-4, out=pathlib.PurePosixPath("a/b")),
    "path": {"out": pathlib.Path("out/x")},
    "torch": {"shape": torch.Size([1, 2]), "dtype": torch.float32, "device": torch.device("cpu")},
    "collections": [collections.deque([1], 2), collections.Counter("aab"), collections.defaultdict(list)],
    "sparse": torch.eye(3).to_sparse(),
}
OTHER_FORMS = {
    "parameters": of_tensors(torch.nn.Parameter),
    "tensor steps": with_beside(steps=torch.tensor(7)),
    "numpy steps": with_beside(steps=np.int64(7)),
    "big-endian steps": with_beside(steps=np.array([7], ">i8")[0]),
    "tensor lr": with_beside(lr=torch.tensor(2e-4, dtype=torch.float64)),
    "lr of Adam's group": lambda c: {key: value for key, value in c.items() if key != "lr"},
    "defaultdict": in_adam(lambda adam: adam.update(state=collections.defaultdict(dict, adam["state"]))),
    "views of one storage": of_names(
        lambda state: dict(
            zip(
                state,
                [
                    part.view(tensor.shape)
                    for part, tensor in zip(
                        torch.cat([t.reshape(-1) for t in state.values()]).split([t.numel() for t in state.values()]),
                        state.values(),
                        strict=True,
                    )
                ],
                strict=True,
            )
        )
    ),
    "strided": of_tensors(lambda tensor: tensor.t().contiguous().t() if tensor.dim() == 2 else tensor),
}


def same_values(path: pathlib.Path, *, adam: bool = True) -> tuple[str, ...]:
    """Checks that the file reads as the original to the bit; returns what was recognised."""
    contents = read_torch(path)
    assert contents.model.items() >= CONTENTS.model.items()
    assert contents.step == 7
    assert contents.weights.keys() == CONTENTS.weights.keys()
    for name, value in CONTENTS.weights.items():
        np.testing.assert_array_equal(contents.weights[name], value)
    assert (contents.adam is not None) == adam
    if adam:
        assert (contents.adam.count, contents.learning_rate) == (7, 2e-4)
        for found, expected in ((contents.adam.mu, CONTENTS.adam.mu), (contents.adam.nu, CONTENTS.adam.nu)):
            for name, value in expected.items():
                np.testing.assert_array_equal(found[name], value)
    return contents.recognised


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
def test_plain_data_beside_the_weights_is_passed_over(tmp_path, saved, protocol, zipped):
    beside = dict(BESIDE)
    if not zipped:
        del beside["uint16"], beside["float8"]  # which the old format cannot hold
    torch.save(
        {"beside": beside, **saved}, tmp_path / "x.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped
    )
    format = [] if zipped else ["PyTorch's old format"]
    assert same_values(tmp_path / "x.pt") == ("SaShiMi", *format, "step 7")


@pytest.mark.parametrize("beside", BESIDE)
def test_each_of_them_alone(tmp_path, saved, beside):
    torch.save({**saved, "beside": BESIDE[beside]}, tmp_path / "x.pt")
    same_values(tmp_path / "x.pt")


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_other_forms_of_the_same(tmp_path, saved, form):
    torch.save(OTHER_FORMS[form](saved), tmp_path / "x.pt")
    assert same_values(tmp_path / "x.pt") == ("SaShiMi", "step 7")


WRAPPINGS = {
    "DataParallel": (of_names(lambda state: prefixed(state, "module.")), ["DataParallel"]),
    "torch.compile": (of_names(lambda state: prefixed(state, "_orig_mod.")), ["torch.compile"]),
    "both": (of_names(lambda state: prefixed(state, "module._orig_mod.")), ["DataParallel", "torch.compile"]),
    "compiled inside": (
        of_names(lambda state: renamed(state, ("sashimi.", "sashimi._orig_mod."))),
        ["torch.compile"],
    ),
    "no prefix": (of_names(lambda state: renamed(state, ("sashimi.", ""))), []),
    "new weight norm": (of_names(lambda state: renamed(state, *NEW_NORM)), ["weight norm as a parametrization"]),
    "key model": (
        lambda c: {"step": 7, "model": c[STATE], "optimizer": c[ADAM], "params": {"batch_size": 16}, "scaler": {}},
        ["weights under 'model'"],
    ),
    "key state_dict": (
        lambda c: {"global_step": 7, "state_dict": c[STATE], "optimizer": c[ADAM]},
        ["weights under 'state_dict'"],
    ),
    "iter": (lambda c: {"iter": 7, STATE: c[STATE], ADAM: c[ADAM], "training_time_seconds": 100}, []),
    "Lightning": (
        lambda c: {
            "epoch": 3,
            "global_step": 7,
            "pytorch-lightning_version": "2.5.0",
            "state_dict": prefixed(c[STATE], "model."),
            "loops": {},
            "optimizer_states": [c[ADAM]],
            "lr_schedulers": [],
            "hyper_parameters": {"lr": 1.0},
        },
        ["Lightning", "names under 'model'"],
    ),
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_usual_wrappings(tmp_path, saved, wrapping):
    change, said = WRAPPINGS[wrapping]
    torch.save(change(saved), tmp_path / "x.pt")
    assert same_values(tmp_path / "x.pt") == ("SaShiMi", *said, "step 7")


def test_a_bare_state_dict(tmp_path, saved):
    torch.save(saved[STATE], tmp_path / "7.pkl")
    assert same_values(tmp_path / "7.pkl", adam=False) == (
        *("SaShiMi", "bare state dict"),
        "step 7 from the file's name",
    )


@pytest.mark.parametrize(
    ("keep", "name", "step", "said"),
    [
        ((STATE, ADAM), "9.pkl", 7, "step 7 from Adam's count"),
        ((STATE,), "200000.pkl", 200_000, "step 200000 from the file's name"),
        ((STATE,), "weights-00123.pt", 123, "step 123 from the file's name"),
        ((STATE,), "sashimi_v2.pt", 0, "step unknown, taken as 0"),
    ],
)
def test_where_the_step_was_found(tmp_path, saved, keep, name, step, said):
    torch.save({key: saved[key] for key in keep}, tmp_path / name)
    contents = read_torch(tmp_path / name)
    assert (contents.step, contents.recognised) == (step, ("SaShiMi", said))


@pytest.mark.parametrize(
    ("dtype", "rounded"),
    [(torch.float16, np.float16), (torch.bfloat16, ml_dtypes.bfloat16), (torch.float64, np.float32)],
    ids=str,
)
def test_other_floats_become_float32(tmp_path, saved, dtype, rounded):
    saved[STATE] = {name: tensor.to(dtype) for name, tensor in saved[STATE].items()}
    for entry in saved[ADAM]["state"].values():
        entry["exp_avg"] = entry["exp_avg"].to(dtype)
    torch.save(saved, tmp_path / "x.pt")
    contents = read_torch(tmp_path / "x.pt")
    assert contents.recognised == ("SaShiMi", "step 7", f"{str(dtype).removeprefix('torch.')} -> float32")
    for name, value in CONTENTS.weights.items():
        assert contents.weights[name].dtype == np.float32
        np.testing.assert_array_equal(contents.weights[name], value.astype(rounded).astype(np.float32))
        np.testing.assert_array_equal(contents.adam.mu[name], CONTENTS.adam.mu[name].astype(rounded).astype(np.float32))


def test_constant_vectors_saved_as_one_number(tmp_path, saved):
    for name, tensor in saved[STATE].items():
        if name.endswith("norm.weight"):
            saved[STATE][name] = torch.full((1,), 1.5).expand(tensor.shape)
    torch.save(saved, tmp_path / "x.pt")
    scale = read_torch(tmp_path / "x.pt").weights["norm.scale"]
    np.testing.assert_array_equal(scale, np.full(4, 1.5, np.float32))


def test_weight_norm_multiplied_out_is_put_back(tmp_path, saved):
    state, plain = saved[STATE], {}
    for name, tensor in state.items():
        if name.endswith("weight_v"):
            g = state[name.replace("weight_v", "weight_g")]
            norm = tensor.double().flatten(1).norm(dim=1).view(-1, *[1] * (tensor.dim() - 1))
            plain[name.replace("weight_v", "weight")] = (g * tensor / norm).float()
        elif not name.endswith("weight_g"):
            plain[name] = tensor
    plain["sashimi.init_conv.0.conv.weight"][1] = 0
    torch.save({**saved, STATE: plain}, tmp_path / "x.pt")
    contents = read_torch(tmp_path / "x.pt")
    assert contents.recognised == ("SaShiMi", "weight norm put back, so without the optimizer's state", "step 7")
    assert contents.adam is None
    for module, axes in (("input", (0,)), ("output1", (0,)), ("up.0.linear", (0,))):
        v, g = (np.asarray(contents.weights[f"{module}.{name}"], np.float64) for name in "vg")
        w, h = (np.asarray(CONTENTS.weights[f"{module}.{name}"], np.float64) for name in "vg")
        expected = w * h / np.sqrt(np.sum(w**2, axis=axes))
        if module == "input":
            expected[:, 1] = 0
        # Three roundings to float32: of the weight, of its norm and of the norm's square root.
        np.testing.assert_allclose(v * g / np.sqrt(np.sum(v**2, axis=axes)), expected, rtol=2e-7)


def test_without_kernel_nodes_the_length_is_told(tmp_path, saved):
    saved[STATE] = {name: tensor for name, tensor in saved[STATE].items() if not name.endswith((".omega", ".z"))}
    torch.save(saved, tmp_path / "x.pt")
    contents = read_torch(tmp_path / "x.pt", length=64)
    assert "no kernel nodes, so l_max taken to be 64 (--length sets it)" in contents.recognised
    assert (contents.model["l_max"], contents.adam.count) == (64, 7)
    assert read_torch(tmp_path / "x.pt").model["l_max"] == 16000
    del saved[STATE]["sashimi.norm.bias"]
    torch.save(saved, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"lacks the tensor norm\.bias"):
        read_torch(tmp_path / "x.pt")


def parameters(state: dict) -> list:
    return [tensor for name, tensor in state.items() if not name.endswith((".omega", ".z"))]


@pytest.mark.parametrize(
    ("place", "key"),
    [
        (lambda c, ema: {**c, "ema_state_dict": ema}, "ema_state_dict"),
        (lambda c, ema: {**c, "ema": {"module": prefixed(ema, "module."), "n_averaged": torch.tensor(3)}}, "ema"),
        (lambda c, ema: {**c, "ema": {"shadow_params": parameters(ema), "decay": 0.99}}, "ema"),
        (
            lambda c, ema: {
                **c,
                STATE: {
                    "initted": torch.tensor(True),
                    **prefixed(c[STATE], "online_model."),
                    **prefixed(ema, "ema_model."),
                },
            },
            "ema_model",
        ),
    ],
)
def test_the_moving_average_becomes_ours(tmp_path, saved, place, key):
    average = {name: tensor + 1 for name, tensor in saved[STATE].items()}
    torch.save(place(saved, average), tmp_path / "x.pt")
    contents = read_torch(tmp_path / "x.pt")
    assert contents.recognised[-1] == f"moving average from {key!r}"
    for name, value in CONTENTS.weights.items():
        np.testing.assert_array_equal(contents.average[name], value + 1)
        np.testing.assert_array_equal(contents.weights[name], value)


def test_the_average_is_written_beside_the_weights_and_used(tmp_path, saved):
    average = {name: tensor + 1 for name, tensor in saved[STATE].items()}
    torch.save({**saved, "ema_state_dict": average, "ema_decay": 0.99}, tmp_path / "x.pt")
    convert_from_torch(tmp_path / "x.pt", tmp_path / "run")
    for ema, added in ((True, 1), (False, 0)):
        for name, value in read_ours(tmp_path / "run", ema=ema).weights.items():
            np.testing.assert_array_equal(value, CONTENTS.weights[name] + np.float32(added))
    del average["sashimi.norm.bias"]
    torch.save({**saved, "ema_state_dict": average}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"norm.bias in the moving average 'ema_state_dict' is missing"):
        read_torch(tmp_path / "x.pt")


def test_values_that_are_no_numbers_are_told(tmp_path, saved):
    saved[STATE]["sashimi.fc_t1.bias"][3:5] = torch.tensor([float("nan"), float("inf")])
    torch.save(saved, tmp_path / "x.pt")
    assert describe(read_torch(tmp_path / "x.pt"))[-1] == (
        "warning: NaN or infinite in 2 weights, the first of embedding.fc1.bias"
    )


def safetensors(state: dict, *, dtype: str = "F32") -> bytes:
    head, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, tensor in state.items():
        blobs.append(tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.dim() else b"")
        head[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [at, at + len(blobs[-1])]}
        at += len(blobs[-1])
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(blobs)


def test_safetensors(tmp_path, saved):
    (tmp_path / "7.safetensors").write_bytes(safetensors(saved[STATE]))
    assert same_values(tmp_path / "7.safetensors", adam=False) == (
        *("SaShiMi", "safetensors", "step 7 from the file's name"),
    )
    halves = {name: tensor.bfloat16() for name, tensor in saved[STATE].items()}
    (tmp_path / "7.safetensors").write_bytes(safetensors(halves, dtype="BF16"))
    contents = read_torch(tmp_path / "7.safetensors")
    assert contents.recognised[-1] == "bfloat16 -> float32"
    expected = CONTENTS.weights["norm.bias"].astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(contents.weights["norm.bias"], expected)


@pytest.mark.parametrize(("n_layers", "reason"), [(100, "expected|lacks"), (400, "400 modules .* more than 200")])
def test_a_small_file_that_claims_many_layers_is_refused_at_once(tmp_path, saved, n_layers, reason):
    for n in range(n_layers):
        saved[STATE][f"sashimi.c_layers.{n}.fc_t.bias"] = torch.zeros(1)
    torch.save({STATE: saved[STATE]}, tmp_path / "x.pt")
    start = time.process_time()
    with pytest.raises(UserError, match=reason):
        read_torch(tmp_path / "x.pt")
    assert time.process_time() - start < 2
