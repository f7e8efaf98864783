import numpy as np
import pytest
import torch

from diffwave_jax.convert.torch_reader import open_checkpoint
from diffwave_jax.convert.torch_writer import write_checkpoint
from diffwave_jax.errors import UserError

CONTENT = {
    "model_state_dict": {
        "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
        "transposed": np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
        "scalar": np.asarray(2.5, np.float32),
        "double": np.asarray([1.0, -2.0]),
        "long": np.asarray([[-1, 2**60]]),
    },
    "optimizer_state_dict": {"state": {0: {"step": np.asarray(3, np.float32)}}, "param_groups": [{"params": [0, 300]}]},
    "numbers": [0, 1, -1, 127, 128, 255, 256, -(2**31), 2**40, 0.1, -1e300],
    "others": (None, True, False, "", "ünïcode", [], {}, ()),
}


def test_torch_reads_what_was_written(tmp_path):
    write_checkpoint(tmp_path / "out.pt", CONTENT)
    for mapped in (False, True):
        found = torch.load(tmp_path / "out.pt", weights_only=True, mmap=mapped)
        assert found["numbers"] == CONTENT["numbers"]
        assert [type(value) for value in found["numbers"]] == [type(value) for value in CONTENT["numbers"]]
        assert found["others"] == CONTENT["others"]
        assert found["optimizer_state_dict"]["state"][0]["step"].item() == 3
        for name, array in CONTENT["model_state_dict"].items():
            tensor = found["model_state_dict"][name]
            assert tensor.is_contiguous()
            assert tensor.numpy().dtype == array.dtype
            np.testing.assert_array_equal(tensor.numpy(), array)


def test_our_reader_reads_what_was_written(tmp_path):
    write_checkpoint(tmp_path / "out.pt", CONTENT)
    with open_checkpoint(tmp_path / "out.pt") as file:
        for name, array in CONTENT["model_state_dict"].items():
            np.testing.assert_array_equal(file.read(file.content["model_state_dict"][name]), array)
        assert file.content["others"] == CONTENT["others"]


def test_the_same_content_gives_the_same_bytes(tmp_path):
    for name in ("a.pt", "b.pt"):
        write_checkpoint(tmp_path / name, CONTENT)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_storages_are_aligned_so_that_they_can_be_mapped(tmp_path):
    write_checkpoint(tmp_path / "out.pt", {"x": np.full(5, 7.25, np.float32)})
    assert (tmp_path / "out.pt").read_bytes().index(np.full(5, 7.25, np.float32).tobytes()) % 64 == 0


def test_what_is_no_checkpoint_content_leaves_no_file(tmp_path):
    with pytest.raises(TypeError, match="set"):
        write_checkpoint(tmp_path / "out.pt", {"x": {1, 2}})
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_checkpoint(tmp_path / "file" / "out.pt", {})
    with pytest.raises(UserError, match="is a folder"):
        write_checkpoint(tmp_path, {})
