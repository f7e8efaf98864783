from pathlib import Path

import pytest

from diffwave_jax.data.listing import Files
from diffwave_jax.data.splits import ClipFile, split_by_lists, split_by_name


def clips(count):
    return [ClipFile(f"a/{index}.wav", Path(), "a") for index in range(count)]


def names(splits):
    return {split: {clip.name for clip in part} for split, part in splits.items()}


def listed(tmp_path, validation=b"", test=b""):
    """The lists as files of a data set."""
    paths = {}
    for name, content in (("validation_list.txt", validation), ("testing_list.txt", test)):
        (tmp_path / name).write_bytes(content)
        paths[name] = tmp_path / name
    return Files(paths)


def test_lists_decide_and_may_name_what_is_not_there(tmp_path):
    splits, remarks = split_by_lists(clips(4), listed(tmp_path, b"a/1.wav\nb/7.wav\n", b"./a/2.wav\n"))
    assert names(splits) == {"train": {"a/0.wav", "a/3.wav"}, "validation": {"a/1.wav"}, "test": {"a/2.wav"}}
    assert remarks == ["validation_list.txt names 1 files that are not there, such as b/7.wav"]


def test_what_is_of_no_concern_is_not_missed(tmp_path):
    files = listed(tmp_path, b"a/1.wav\nb/7.wav\n")
    assert split_by_lists(clips(4), files, concerns=lambda name: name.startswith("a/"))[1] == []


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa/1.wav\r\na/2.wav\r\n",
        b".\\a\\1.wav\r\na\\2.wav",
        b"a/1.wav \n\n\n  a/2.wav\n",
        "a/1.wav\r\na/2.wav\r\n".encode("utf-16"),
    ],
    ids=["mark and Windows line ends", "backslashes", "spaces", "UTF-16"],
)
def test_lists_by_other_editors(tmp_path, content):
    splits, remarks = split_by_lists(clips(4), listed(tmp_path, content))
    assert (names(splits)["validation"], remarks) == ({"a/1.wav", "a/2.wav"}, [])


@pytest.mark.parametrize("name", ["café/1.wav", "cafe\u0301/1.wav", "caf\udce9/1.wav"], ids=["NFC", "NFD", "Latin-1"])
@pytest.mark.parametrize("line", ["café/1.wav".encode(), "cafe\u0301/1.wav".encode(), b"caf\xe9/1.wav"])
def test_lists_in_other_encodings(tmp_path, name, line):
    clip = ClipFile(name, Path(), "x")
    splits, remarks = split_by_lists([clip], listed(tmp_path, line + b"\n"))
    assert (splits["validation"], remarks) == ([clip], [])


def test_without_lists_every_clip_is_for_training():
    assert len(split_by_lists(clips(4), Files())[0]["train"]) == 4


def test_a_twentieth_is_held_out_by_name():
    splits = names(split_by_name(clips(45)))
    assert {split: len(part) for split, part in splits.items()} == {"train": 41, "validation": 2, "test": 2}
    assert set.union(*splits.values()) == {clip.name for clip in clips(45)}
    assert names(split_by_name(clips(45)[::-1])) == splits


def test_few_clips_are_all_for_training():
    assert len(split_by_name(clips(3))["train"]) == 3


def test_speaker_is_read_from_the_name():
    assert ClipFile("zero/51055bda_nohash_4.wav", Path(), "zero").speaker == "51055bda"
    assert ClipFile("zero/take_4.wav", Path(), "zero").speaker == ""
