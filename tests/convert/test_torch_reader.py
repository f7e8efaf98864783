import contextlib
import gzip
import io
import os
import pickle
import resource
import struct
import time
import zipfile

import numpy as np
import pytest
import torch

from diffwave_jax.convert.torch_names import TensorReference
from diffwave_jax.convert.torch_reader import open_checkpoint
from diffwave_jax.errors import UserError
from tests.helpers.fuzz_reader import fuzz, read_tensors, small_checkpoints
from tests.helpers.torch_files import golden_folder

GLOBAL, REDUCE, STOP = b"c", b"R", b"."


def values(path) -> list[np.ndarray]:
    with open_checkpoint(path) as file:
        return read_tensors(file)


def zip_of(members: dict[str, bytes], compression=zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def zip_with_pickle(data: bytes, storage: bytes = bytes(16)) -> bytes:
    return zip_of({"archive/data.pkl": data, "archive/data/0": storage, "archive/version": b"3\n"})


def number(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def tensor_pickle(*, shape=(4,), strides=(1,), offset=0, size=4, storage="FloatStorage", key="0") -> bytes:
    """A pickle that is one tensor, however impossible."""
    reference = b"(" + text("storage") + b"ctorch\n" + storage.encode() + b"\n" + text(key) + text("cpu") + number(size)
    arguments = [
        b"(" + b"".join(map(number, shape)) + b"t",
        b"(" + b"".join(map(number, strides)) + b"t",
        b"\x89",
        b"ccollections\nOrderedDict\n)R",
    ]
    start = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
    return start + reference + b"tQ" + number(offset) + b"".join(arguments) + b"tR."


def refuses(tmp_path, data: bytes, match: str) -> str:
    path = tmp_path / "bad.pt"
    path.write_bytes(data)
    with pytest.raises(UserError, match=match) as caught:
        values(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["zip", "old format", "zip, protocol 4", "old format, protocol 4"])
def test_every_value_is_read_as_torch_reads_it(tmp_path, name):
    path = tmp_path / "small.pt"
    path.write_bytes(small_checkpoints()[name])
    expected = torch.load(path, weights_only=False)  # there are sets and paths in some
    with open_checkpoint(path) as file:
        assert file.content.keys() == expected.keys()
        assert file.content["lr"] == expected["lr"] and file.content.get("numpy") == expected.get("numpy")
        assert file.content["steps"] == 800_000
        assert file.content["optimizer_state_dict"]["param_groups"] == expected["optimizer_state_dict"]["param_groups"]
        for name, tensor in expected["model_state_dict"].items():
            np.testing.assert_array_equal(file.read(file.content["model_state_dict"][name]), tensor.numpy())


@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.float16, torch.float32, torch.float64, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.bool, torch.complex64, torch.complex128),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_dtypes(tmp_path, dtype, zipped):
    tensor = torch.arange(-3, 9).reshape(3, 4).to(dtype)
    torch.save([tensor, tensor.t()[1:]], tmp_path / "t.pt", _use_new_zipfile_serialization=zipped)
    with open_checkpoint(tmp_path / "t.pt") as file:
        whole, part = (file.read(reference) for reference in file.content)
    assert whole.dtype == tensor.numpy().dtype
    np.testing.assert_array_equal(whole, tensor.numpy())
    np.testing.assert_array_equal(part, tensor.t()[1:].numpy())


def test_a_scalar_tensor(tmp_path):
    torch.save(torch.tensor(3.5), tmp_path / "t.pt")
    assert values(tmp_path / "t.pt")[0].shape == ()


@pytest.mark.skipif(golden_folder() is None, reason="the reference checkpoints are not beside the project")
@pytest.mark.parametrize("name", ["sashimi_tiny", "diffwave_tiny", "diffwave_tiny_legacy"])
def test_reference_checkpoints_as_torch_reads_them(name):
    path = golden_folder() / f"{name}.pt"
    expected = torch.load(path, weights_only=True)
    with open_checkpoint(path) as file:
        for part in ("model_state_dict", "optimizer_state_dict"):
            compare(file, file.content[part], expected[part])


def compare(file, found, expected):
    if isinstance(found, TensorReference):
        np.testing.assert_array_equal(file.read(found), expected.numpy())
    elif isinstance(found, dict):
        assert list(found) == list(expected)
        for key in found:
            compare(file, found[key], expected[key])
    else:
        assert found == expected


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_calls_is_refused_and_not_run(tmp_path, protocol):
    class Evil:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    for data in (pickle.dumps(Evil(), protocol), zip_with_pickle(pickle.dumps(Evil(), protocol))):
        refuses(tmp_path, data, "builtins.exec|neither a zip|opcode")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["os system", "posix system", "torch.nn.modules Linear", "numpy.testing._private.utils runstring"]
)
def test_a_name_outside_the_few_is_refused_by_name(tmp_path, name):
    data = b"\x80\x02" + GLOBAL + name.replace(" ", "\n").encode() + b"\n" + text("true") + b"\x85" + REDUCE + STOP
    message = refuses(tmp_path, zip_with_pickle(data), name.replace(" ", "."))
    assert "nothing of it was run" in message


def test_os_system_in_the_old_format(tmp_path):
    magic = b"\x80\x02" + number(0x1950A86A20F9469CFC6C) + STOP + b"\x80\x02" + number(1001) + STOP
    system = b"\x80\x02}" + text("little_endian") + b"\x88s" + STOP
    refuses(tmp_path, magic + system + b"\x80\x02cos\nsystem\n" + text("true") + b"\x85R.", "os.system")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"shape": (10**18,)}, "more than its storage"),
        ({"shape": (2**62, 2**62), "strides": (0, 0)}, "far more than the file"),
        ({"shape": (5,)}, "more than its storage"),
        ({"shape": (4,), "offset": 1}, "more than its storage"),
        ({"shape": (2, 2), "strides": (3, 1)}, "more than its storage"),
        ({"shape": (1,), "offset": -1}, "out of range"),
        ({"shape": (4,), "strides": (-1,)}, "out of range"),
        ({"shape": (-4,)}, "out of range"),
        ({"shape": (1,) * 40, "strides": (1,) * 40}, "not described"),
        ({"shape": (4, 1)}, "not described"),
        ({"size": 2**40, "shape": (2**40,)}, "bytes"),
        ({"size": -4}, "more than its storage"),
        ({"storage": "DoubleStorage"}, "16 bytes, where 32"),
        ({"storage": "QInt8Storage"}, "QInt8Storage"),
        ({"key": "../../etc/passwd"}, "no member"),
        ({"key": "1"}, "no member"),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path, fields, match):
    refuses(tmp_path, zip_with_pickle(tensor_pickle(**fields)), match)


def test_the_tensor_of_these_tests_is_read_when_nothing_is_wrong_with_it(tmp_path):
    path = tmp_path / "good.pt"
    path.write_bytes(zip_with_pickle(tensor_pickle(), np.arange(4, dtype=np.float32).tobytes()))
    np.testing.assert_array_equal(values(path)[0], np.arange(4))


def test_tensors_that_share_one_storage_may_not_add_up_to_more_than_the_file(tmp_path):
    one = tensor_pickle(size=25_000, shape=(25_000,))[2:-1]
    data = b"\x80\x02](" + one * 100 + b"e."
    refuses(tmp_path, zip_with_pickle(data, bytes(100_000)), "far more than the file")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    members = {"archive/data.pkl": tensor_pickle(), "archive/data/0": bytes(200_000_000)}
    refuses(tmp_path, zip_of(members, zipfile.ZIP_DEFLATED), "compressed")


def test_a_zip_whose_members_overlap_is_refused(tmp_path):
    members = {f"archive/data/{n}": bytes(2000) for n in range(4)}
    data = zip_of({"archive/data.pkl": tensor_pickle(), **members})
    directory = data.index(b"PK\x01\x02")
    claimed = data[:directory] + data[directory:].replace(
        struct.pack("<II", 2000, 2000), struct.pack("<II", 9000, 9000)
    )
    refuses(tmp_path, claimed, "claim more bytes")


@pytest.mark.parametrize(
    ("members", "match"),
    [
        ({"archive/version": b"3\n"}, "0 members FOLDER/data.pkl"),
        ({"a/data.pkl": b"", "b/data.pkl": b""}, "2 members FOLDER/data.pkl"),
        ({"archive/data.pkl": b""}, "STOP"),
        ({"archive/data.pkl": tensor_pickle(), "archive/byteorder": b"big"}, "byte order"),
    ],
)
def test_a_zip_that_is_no_checkpoint(tmp_path, members, match):
    refuses(tmp_path, zip_of(members), match)


def test_pickles_made_to_take_time_or_memory(tmp_path):
    """Each would keep Python's own unpickler, or whoever walks its result, busy for ever."""
    deep_key = b"\x80\x02}" + b")" + b"2\x86" * 100 + b"Ns."  # a tuple of 2^100 parts as a dict's key
    doubled = b"\x80\x02]" + b"q\x00h\x00a" * 3 + b"."  # a list that holds itself
    memo = b"\x80\x02Nr\xff\xff\xff\xff."  # an entry of the memo at 2^32 - 1
    colliding = b"\x80\x02}(" + b"".join(number(k * (2**61 - 1)) + b"N" for k in range(20_000)) + b"u."
    start = time.monotonic()
    refuses(tmp_path, zip_with_pickle(deep_key), "opcode DUP")
    refuses(tmp_path, zip_with_pickle(b"\x80\x02" + b"N" * 900_000 + b"."), "more than 312,5")
    for harmless in (doubled, memo, colliding):
        path = tmp_path / "harmless.pt"
        path.write_bytes(zip_with_pickle(harmless))
        assert values(path) == []
    assert time.monotonic() - start < 60  # seconds; it takes about 5, a hang takes for ever


TUPLE = b"(" + b"K\x01" * 100_000 + b"t\x94"  # of 100,000 numbers, then memoised
CALL = {
    "shape": b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00h\x00h\x00t",
    "arguments": b"ccollections\ndeque\nh\x00",
    "size": b"ctorch\nSize\nh\x00\x85",
    "storage": b"h\x00Q",
}


@pytest.mark.parametrize(
    "data",
    [
        *(b"\x80\x04" + TUPLE + (call + b"R") * 15_000 + b"." for call in CALL.values()),
        b"\x80\x04" + b"\x8f\x94" * 200_000 + b".",  # sets
        b"\x80\x04" + b"}" * 300_000 + b".",
        b"\x80\x04" + b"(" * 300_000 + b".",
        b"\x80\x04X\x00\x00\x06\x00" + b"x" * 0x60000 + b"\x94" + b"c_codecs\nencode\nh\x00\x85R" * 20_000 + b".",
        b"\x80\x04cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85R" + b"(K\x03X\x01\x00\x00\x00>tb" * 50_000 + b".",
    ],
    ids=[*CALL, "sets", "dicts", "marks", "bytes", "byte orders"],
)
def test_no_small_file_takes_long_or_much(tmp_path, data):
    path = tmp_path / "small.pt"
    path.write_bytes(zip_with_pickle(data))
    assert path.stat().st_size < 1_000_000
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(UserError):
        values(path)
    assert time.process_time() - start < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_keys_that_were_memory_addresses_are_read_at_once(tmp_path):
    """Old versions of PyTorch number parameters so; keys that agree in their low bits must not slow the table down."""
    entries = b"".join(number(k << 27) + b"N" for k in range(100_000))
    path = tmp_path / "old.pt"
    path.write_bytes(zip_with_pickle(b"\x80\x02}(" + entries + b"u."))
    start = time.monotonic()
    with open_checkpoint(path) as file:
        assert len(file.content) == 100_000
    assert time.monotonic() - start < 20  # seconds; it takes under 1


@pytest.mark.parametrize("name", small_checkpoints())
def test_every_truncation_is_refused(tmp_path, name):
    data = small_checkpoints()[name]
    for length in range(0, len(data), 7):
        refuses(tmp_path, data[:length], "cannot be read as a PyTorch checkpoint")


def test_a_flipped_bit_in_a_zipped_tensor_is_found_by_its_checksum(tmp_path):
    data = zip_with_pickle(tensor_pickle(), b"\x01\x02\x03\x04" * 4)
    refuses(tmp_path, data.replace(b"\x01\x02\x03\x04", b"\x01\x02\x03\x05", 1), "CRC")


def test_a_web_page_and_an_empty_file_say_what_they_are(tmp_path):
    refuses(tmp_path, b"<!DOCTYPE html><title>Log in</title>", r"it is a web page \('Log in'\)")
    refuses(tmp_path, b"", "it is empty")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 94397413\n"
    refuses(tmp_path, pointer, "a Git LFS pointer to 94,397,413 bytes, not the file itself: fetch it with `git lfs")
    refuses(tmp_path, zip_of({"a/8.pt": b"x"}, zipfile.ZIP_DEFLATED), "a zip archive around 'a/8.pt': unpack it")
    refuses(tmp_path, gzip.compress(b"x"), "packed by gzip: unpack it first")


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        values(tmp_path / "missing.pt")
    with pytest.raises(UserError, match="cannot be read: it is a folder"):
        values(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="cannot be read: it is no regular file but a pipe"):
        values(tmp_path / "pipe")


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # people have such files
def test_whole_files_are_not_to_be_fetched_again(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    assert "a whole module" in refuses(tmp_path, (tmp_path / "module.pt").read_bytes(), r"torch\.nn.*Linear")
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "script.pt")
    for data in ((tmp_path / "script.pt").read_bytes(), pickle.dumps({"a": 1}), zip_with_pickle(b"\x80\x02N22.")):
        message = refuses(tmp_path, data, "save")
        assert "again" not in message and "trust" not in message


def test_mutated_files_end_in_values_or_in_an_error():
    """`python tests/helpers/fuzz_reader.py --files 100000` looks further."""
    outcomes, failures = fuzz(1500, seed=20)
    assert failures == []
    assert outcomes["read, as it was"] > 50  # mutations of padding and unused fields
    assert outcomes["refused: asks to load"] > 3 and outcomes["converted"] > 20
    assert len(outcomes) > 20
