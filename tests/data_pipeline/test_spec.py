import pytest
from ml_collections import ConfigDict

from diffwave_jax.cache import CACHE_VARIABLE
from diffwave_jax.data.spec import DataSpec
from diffwave_jax.digits import DIGITS
from diffwave_jax.errors import UserError


def test_reads_a_config_section():
    config = ConfigDict({"archive": "x", "length": 5120, "sample_rate": 8000, "shift": 100, "classes": ("zero", "one")})
    assert DataSpec.from_config(config) == DataSpec("x", length=5120, sample_rate=8000, classes=("zero", "one"))


def test_empty_fields_mean_the_defaults():
    spec = DataSpec.from_config({"archive": "", "data_dir": "", "classes": ()})
    assert (spec.archive, spec.path, spec.classes) == (None, None, DIGITS)


def test_default_cache_follows_the_user_s_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert DataSpec().cache == tmp_path


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source", "tfrecord"),
        ("sample_rate", 0),
        ("sample_rate", 1e9),
        ("sample_rate", 10**9),
        ("length", 1e12),
        ("length", 10**12),
        ("length", 256.5),
        ("length", True),
        ("trim_db", float("inf")),
        ("trim_db", "x"),
        ("length", -1),
        ("trim_db", -3.0),
        ("fade", -1),
        ("rms", 1.5),
        ("classes", ("one", "one")),
    ],
)
def test_bad_fields_are_named_with_what_was_found(field, value):
    with pytest.raises(UserError, match=rf"^data\.{field} is .*; it must be .*$") as caught:
        DataSpec(archive="x", **{field: value})
    assert repr(value) in str(caught.value)


def test_a_folder_source_needs_a_folder():
    with pytest.raises(UserError, match=r"data\.archive is None; it must be a folder of audio"):
        DataSpec(source="folder")


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(UserError, match=r"data\.archive: nothing found at .*absent; give a folder"):
        _ = DataSpec(archive=str(tmp_path / "absent")).path


@pytest.mark.parametrize("archive", ["x" * 5000, "a\0b", "x/" * 3000])
def test_what_is_no_path_is_named(archive):
    with pytest.raises(UserError, match=r"data\.archive: ") as caught:
        _ = DataSpec(archive=archive).path
    assert str(caught.value).isprintable()
