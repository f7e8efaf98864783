"""Models in one file: bit for bit, verified, and what is said of other files."""

import json
import os
import struct
import tracemalloc

import numpy as np
import pytest

import diffwave_jax
from diffwave_jax import checkpoint, one_file
from diffwave_jax.commands import convert
from diffwave_jax.config import to_dict
from diffwave_jax.convert.torch_reader import open_checkpoint
from diffwave_jax.errors import UserError
from tests.helpers.autoregressive import golden_generator
from tests.helpers.tiny import tiny_generator


@pytest.fixture(scope="module")
def model():
    return tiny_generator(n_classes=10, n_speakers=2)


@pytest.fixture
def path(model, tmp_path):
    return model.save(tmp_path / "digits.safetensors")


def same(first, second) -> None:
    assert to_dict(first.config) == to_dict(second.config)
    assert first._params.keys() == second._params.keys()
    assert all(np.array_equal(first._params[name], second._params[name]) for name in first._params)


def test_saved_and_loaded(model, path):
    loaded = diffwave_jax.load(path)
    same(loaded, model)
    assert loaded.fingerprint == model.fingerprint
    assert [file.name for file in path.parent.iterdir()] == ["digits.safetensors"]


def test_an_autoregressive_model_too(tmp_path):
    model = golden_generator("ar_rf5_tiny")
    loaded = diffwave_jax.load(model.save(str(tmp_path / "model.safetensors")))
    assert isinstance(loaded, diffwave_jax.AutoregressiveGenerator)
    same(loaded, model)


def test_it_is_safetensors(model, path):
    """As the reader of other people's files takes it, which checks every tensor's bounds."""
    with open_checkpoint(path) as file:
        assert file.format == "safetensors"
        assert {name: file.read(tensor).tobytes() for name, tensor in file.content.items()} == {
            name: np.asarray(value).tobytes() for name, value in model._params.items()
        }


def test_a_run_to_one_file_and_back(model, tmp_path):
    raw = {name: np.asarray(value) for name, value in model._params.items()}
    average = {name: value + 1 for name, value in raw.items()}
    checkpoint.save(tmp_path / "run", 7, params=raw, ema=average, config=to_dict(model.config))
    for flags, expected in ((), average), (("--raw-weights",), raw):
        file = tmp_path / f"{len(flags)}.safetensors"
        lines = convert.convert(convert.parse([str(tmp_path / "run"), str(file), *flags]))
        assert lines[-1] == f"wrote {file}" and "step 7" in lines[0]
        back = tmp_path / f"back{len(flags)}"
        convert.convert(convert.parse([str(file), str(back)]))
        saved = checkpoint.load(back)
        assert (saved.step, saved.config) == (7, to_dict(model.config))
        assert {name: value.tobytes() for name, value in saved.weights.items()} == {
            name: value.tobytes() for name, value in expected.items()
        }
    with pytest.raises(UserError, match="has checkpoints already"):
        convert.convert(convert.parse([str(file), str(tmp_path / "run")]))


def changed(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def other_tensors(_: bytes) -> bytes:
    header = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * 4


def with_header(content: bytes, change) -> bytes:
    length = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:length])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[length:]


def twice(header: dict) -> None:
    header["more"] = header[max(header)]


def with_metadata(content: bytes, **fields) -> bytes:
    return with_header(content, lambda header: header["__metadata__"].update(fields))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: changed(content, len(content) - 2), "its bytes are not what was written"),
        (lambda content: content[:-1], "it ends before its tensors do"),
        (lambda content: content.replace(b'\\"seed\\": 0', b'\\"seed\\": 1'), "its bytes are not what was written"),
        (lambda content: content[:5], "copy or download it again"),
        (lambda _: b"\xff" * 64, "it does not begin as safetensors does"),
        (lambda _: b"<html>a page that asks to log in</html>", "it does not begin as safetensors does"),
        (other_tensors, "holds tensors, but no model of this package"),
        (lambda content: content.replace(b'"step": "0"', b'"step": "8"'), "its bytes are not what was written"),
        (lambda content: with_header(content, lambda header: header.update(__metadata__=[1])), "no model of this"),
        (lambda content: with_metadata(content, config=5), "its metadata are not text"),
        (lambda content: with_metadata(content, format={}), "no model of this"),
        (lambda content: with_header(content, twice), "of another kind"),
    ],
)
def test_a_damaged_file_is_one_line(path, damage, said):
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError) as caught:
        diffwave_jax.load(path)
    assert said in str(caught.value) and str(path) in str(caught.value)


def test_a_small_file_takes_little_memory(path):
    """Tensors that all claim the same bytes: 400 MB of 0.4 MB."""

    def claim(header):
        tensor = {"dtype": "F32", "shape": [25000], "data_offsets": [0, 100_000]}
        header.clear()
        header.update({"__metadata__": {"format": one_file.KIND}} | {f"x{number}": tensor for number in range(4000)})

    path.write_bytes(with_header(path.read_bytes(), claim))
    tracemalloc.start()
    with pytest.raises(UserError, match="of another kind"):
        one_file.read(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000, "nul\0", "~nobody-of-this-name/x"])
def test_what_no_file_can_be_called_is_one_line(model, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for use in (diffwave_jax.load, model.save, one_file.is_ours):
        for ending in ("", ".safetensors"):
            if use == model.save and not ending:
                continue
            with pytest.raises(UserError, match="is no path that can be used") as caught:
                use(name + ending)
            assert len(str(caught.value)) < 500


def test_a_pipe_is_not_waited_for(tmp_path):
    for name in ("pipe", "pipe.safetensors"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(UserError):
            convert.convert(convert.parse([str(tmp_path / name), str(tmp_path / "out")]))


def test_a_single_number_keeps_its_shape(tmp_path):
    held = one_file.read(one_file.save(tmp_path / "x.safetensors", {}, {"x": np.float32(3), "y": np.zeros((0, 2))}))
    assert held.weights["x"].shape == () and held.weights["x"] == 3 and held.weights["y"].shape == (0, 2)


def test_names(model, tmp_path):
    with pytest.raises(UserError, match=r"does not end in \.safetensors"):
        model.save(tmp_path / "digits.bin")
    with pytest.raises(UserError, match="no model at"):
        diffwave_jax.load(tmp_path / "none.safetensors")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        model.save(tmp_path / "file" / "digits.safetensors")
    assert not one_file.is_ours(tmp_path / "file")


def test_the_commands_mistakes(tmp_path, capsys):
    for arguments, said in (
        (["nowhere", "out.safetensors"], "no run at nowhere"),
        (["a.pt", "out", "--raw-weights"], "goes with --to-torch, or with"),
    ):
        with pytest.raises(SystemExit):
            convert.parse(arguments)
        assert said in capsys.readouterr().err
