from pathlib import Path

from diffwave_jax.data.splits import ClipFile, split_by_lists, split_by_name


def clips(count):
    return [ClipFile(f"a/{index}.wav", Path(), "a") for index in range(count)]


def names(splits):
    return {split: {clip.name for clip in part} for split, part in splits.items()}


def test_lists_decide_and_may_name_what_is_not_there(tmp_path):
    (tmp_path / "validation_list.txt").write_text("a/1.wav\nb/7.wav\n")
    (tmp_path / "testing_list.txt").write_text("./a/2.wav\n")
    expected = {"train": {"a/0.wav", "a/3.wav"}, "validation": {"a/1.wav"}, "test": {"a/2.wav"}}
    assert names(split_by_lists(clips(4), tmp_path)) == expected


def test_without_lists_every_clip_is_for_training(tmp_path):
    assert len(split_by_lists(clips(4), tmp_path)["train"]) == 4


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
