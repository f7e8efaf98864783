import dataclasses

import numpy as np
import pytest
import soundfile

from diffwave_jax.cache import CACHE_VARIABLE
from diffwave_jax.data import DataSpec
from diffwave_jax.errors import UserError
from diffwave_jax.evaluation import reference as references
from diffwave_jax.evaluation.recognition import Recogniser
from diffwave_jax.evaluation.reference import load_reference


@pytest.fixture
def archive(tmp_path, monkeypatch, real, recogniser):
    """A folder in Speech Commands' layout: two training clips and one test clip of each digit."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    root = tmp_path / "archive"
    for word, audio in zip(recogniser.classes, real.audio, strict=True):
        (root / word).mkdir(parents=True)
        for speaker in range(3):
            soundfile.write(root / word / f"s{speaker}_nohash_0.wav", audio, recogniser.sample_rate)
    (root / "testing_list.txt").write_text("\n".join(f"{word}/s2_nohash_0.wav" for word in recogniser.classes))
    return root


@pytest.mark.parametrize("named", [True, False])
def test_hears_an_archive_and_keeps_what_it_heard(archive, named, recogniser, real, monkeypatch):
    arguments = ("fsdd", recogniser, str(archive)) if named else (str(archive), recogniser)
    first = load_reference(*arguments)
    assert (len(first.train.labels), len(first.test.labels)) == (20, 10)
    np.testing.assert_array_equal(np.sort(first.test.labels), np.arange(10))
    np.testing.assert_array_equal(first.test.recognition.logits.argmax(axis=1), first.test.labels)
    order = np.argsort(first.test.labels)
    # 1e-3 of features of about 1: the recordings were written as PCM16 again.
    expected = recogniser(real.audio).features
    np.testing.assert_allclose(first.test.recognition.features[order], expected, atol=1e-3)
    monkeypatch.setattr(references, "_hear", lambda *_: pytest.fail("heard again"))
    second = load_reference(*arguments)
    np.testing.assert_array_equal(first.test.recognition.logits, second.test.recognition.logits)


def test_another_classifier_hears_for_itself(archive, recogniser):
    load_reference("fsdd", recogniser, str(archive))
    other = Recogniser(recogniser.config, {name: 0 * value for name, value in recogniser._params.items()})
    assert not load_reference("fsdd", other, str(archive)).test.recognition.logits.any()
    kept = list((DataSpec().cache / "references").iterdir())
    assert len(kept) == 2


def test_bundled_reference_is_what_the_bundled_classifier_hears(reference, recogniser, real):
    # The ten recordings are of the test split, so that each has an exact twin there.
    heard = recogniser(real.audio)
    for row, label in zip(heard.logits, range(10), strict=True):
        twins = reference.test.recognition.logits[reference.test.labels == label]
        # 0.02 of logits of about 10: float16 on disk.
        assert np.abs(twins - row).max(axis=1).min() < 0.02


def test_bundled_reference_is_for_the_bundled_classifier_only(recogniser):
    other = Recogniser(recogniser.config, {name: 0 * value for name, value in recogniser._params.items()})
    with pytest.raises(UserError, match="give --archive"):
        load_reference("fsdd", other)


def test_other_words_are_refused(archive, recogniser):
    (archive / "nine").rename(archive / "bed")
    (archive / "testing_list.txt").unlink()
    with pytest.raises(UserError, match="a folder of audio for each of zero, one"):
        load_reference(str(archive), recogniser)


def test_a_damaged_file_is_named_and_made_anew(archive, recogniser, caplog):
    first = load_reference(str(archive), recogniser)
    (kept,) = archive.parent.glob("cache/references/*.npz")
    content = kept.read_bytes()
    for damaged in (b"", content[: len(content) // 2], content.replace(b"test_labels", b"best_labels")):
        caplog.clear()
        kept.write_bytes(damaged)
        again = load_reference(str(archive), recogniser)
        np.testing.assert_array_equal(again.test.labels, first.test.labels)
        assert f"{kept} is damaged (" in caplog.text
        assert kept.stat().st_size > len(content) / 2


def test_missing_archive(recogniser, tmp_path):
    with pytest.raises(UserError, match="nothing found"):
        load_reference(str(tmp_path / "nowhere"), recogniser)


def test_saved_file_is_complete_or_absent(tmp_path, reference, recogniser):
    broken = dataclasses.replace(reference.test, labels=np.array(["seven"] * len(reference.test.labels)))
    with pytest.raises(ValueError, match="seven"):  # no number
        references.save(tmp_path / "a.npz", {"train": reference.train, "test": broken}, recogniser)
    assert not list(tmp_path.iterdir())
