import dataclasses
import json

import numpy as np
import pytest
import torch

from diffwave_jax import AutoregressiveGenerator, load_pretrained, pretrained
from diffwave_jax import download as download_module
from diffwave_jax.cache import CACHE_VARIABLE, cache_folder
from diffwave_jax.convert.commands import convert_from_torch
from diffwave_jax.convert.to_torch import write_torch
from diffwave_jax.convert.torch_writer import write_checkpoint
from diffwave_jax.errors import UserError
from diffwave_jax.generation.loading import load
from tests.helpers.autoregressive import checkpoint
from tests.helpers.file_server import Behaviour, FileServer
from tests.helpers.torch_files import MODELS, random_contents

NAME = "sashimi_diffwave_800k_sc09"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(download_module, "PAUSES", (0.0,))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "pretrained" / NAME


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("released") / "model.pt"
    write_torch(path, random_contents(MODELS["sashimi"]))
    return path.read_bytes()


@pytest.fixture
def serve(monkeypatch, released):
    """A function that serves a released model as told, by default as it is; gives the server and its behaviour."""
    servers = []

    def start(content: bytes = released, **behaviour) -> Behaviour:
        behaviour = Behaviour(content, **behaviour)
        servers.append(FileServer(behaviour).__enter__())
        monkeypatch.setitem(pretrained.RELEASED, NAME, pretrained.Release(servers[-1].url))
        return behaviour

    yield start
    for server in servers:
        server.__exit__()


def test_the_released_names_and_places():
    assert {name: release.url.rsplit("/", 2)[1:] for name, release in pretrained.RELEASED.items()} == {
        "diffwave_sc09": ["v0.1", "diffwave_sc09_1M_steps.pt"],
        "sashimi_diffwave_500k_sc09": ["v0.2", "sashimi_sc09_500k_steps.pt"],
        "sashimi_diffwave_800k_sc09": ["v0.2", "sashimi_sc09_800k_steps.pt"],
        "sashimi_ar_1100k_sc09": ["v1.0", "ckpt_01100000.pt"],
        "sashimi_ar_sc09": ["checkpoints", "sashimi_sc09.pt"],
        "sashimi_ar_sc09_unet": ["checkpoints", "sashimi_sc09_unet.pt"],
        "sashimi_ar_youtubemix": ["checkpoints", "sashimi_youtubemix.pt"],
        "diffwave_ljspeech": ["diffwave", "diffwave-ljspeech-22kHz-1000578.pt"],
    }


def test_a_released_autoregressive_model(tmp_path, monkeypatch):
    """Of version 4's layout, whose step sizes the release knows."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    write_checkpoint(tmp_path / "model.pt", checkpoint("ar_s4v4_tiny"))
    with FileServer(Behaviour((tmp_path / "model.pt").read_bytes())) as server:
        monkeypatch.setitem(pretrained.RELEASED, "an_ar", pretrained.Release(server.url, dt="exp"))
        model = load_pretrained("an_ar")
    assert isinstance(model, AutoregressiveGenerator) and model.length == 1024
    inverse = checkpoint("ar_s4v4_tiny")["model.c_layers.0.layer.layer.kernel.inv_dt"][:, 0]
    np.testing.assert_array_equal(model._params["center.0.s4.kernel.log_dt"], inverse)


def test_downloaded_once_converted_and_kept(cache, serve, released):
    behaviour, seen = serve(), []
    model = load_pretrained(NAME, on_progress=lambda *now: seen.append(now))
    assert seen[-1] == (len(released), len(released))
    expected = random_contents(MODELS["sashimi"]).weights
    assert model.num_parameters == sum(value.size for value in expected.values())
    assert json.loads((cache / "model.pt.json").read_text())["size"] == len(released)
    again = load_pretrained(NAME)
    assert len(behaviour.requests) == 1
    assert again.fingerprint == model.fingerprint
    assert not list(cache.glob("*.part*"))


def test_it_generates_the_four_ways(cache, serve):
    serve()
    model = load_pretrained(NAME)
    audio = model.generate(2, seed=3, steps=4)
    z = model.latents(2, seed=3)
    w = model.z2w(z, interp_t=50)
    for clips in (audio, w, model.generate_from_latent(z), model.generate_from_w(w, interp_t=50)):
        assert np.asarray(clips).shape == (2, 64)
        assert np.asarray(clips).dtype == np.float32
        assert np.all(np.isfinite(clips))


def test_it_is_the_model_that_the_file_converts_to(cache, serve, tmp_path, released):
    serve()
    (tmp_path / "by_hand.pt").write_bytes(released)
    convert_from_torch(tmp_path / "by_hand.pt", tmp_path / "run", clip_length=64)
    assert load(tmp_path / "run").fingerprint == load_pretrained(NAME).fingerprint


def test_an_interrupted_download_goes_on(cache, serve, released):
    behaviour = serve(break_after=[100_000, 0])
    with pytest.raises(UserError, match="ended after 100000"):
        load_pretrained(NAME)
    assert (cache / "model.pt.part").stat().st_size == 100_000
    load_pretrained(NAME)
    assert behaviour.requests == [None, "bytes=100000-", "bytes=100000-"]


def test_offline_with_nothing_cached_says_how_to_convert_by_hand(cache, serve):
    serve(status=[404])
    with pytest.raises(UserError, match=r"404.*by hand: python -m diffwave_jax convert model.pt DIR") as caught:
        load_pretrained(NAME)
    assert "\n" not in str(caught.value)


def test_offline_with_the_model_cached(cache, serve):
    behaviour = serve()
    first = load_pretrained(NAME)
    behaviour.status = [404] * 9
    assert load_pretrained(NAME).fingerprint == first.fingerprint


@pytest.mark.parametrize("content", [b"<html>Please log in</html>", b"", b"PK\x03\x04" + bytes(1000)])
def test_wrong_content_is_refused_and_not_kept(cache, serve, content):
    serve(content)
    with pytest.raises(UserError, match="did not give a PyTorch checkpoint"):
        load_pretrained(NAME)
    assert sorted(path.name for path in cache.iterdir()) == ["lock"]


def test_a_checkpoint_of_something_else_is_named(cache, serve, tmp_path):
    torch.save({"model_state_dict": {"fc.weight": torch.zeros(2)}}, tmp_path / "other.pt")
    serve((tmp_path / "other.pt").read_bytes())
    with pytest.raises(UserError, match=r"fc\.weight"):
        load_pretrained(NAME)
    assert not (cache / "converted").exists()


@pytest.mark.parametrize(("field", "value"), [("size", 5), ("sha256", "0" * 64)])
def test_a_file_other_than_the_known_one_is_refused(cache, serve, monkeypatch, field, value):
    serve()
    known = dataclasses.replace(pretrained.RELEASED[NAME], **{field: value})
    monkeypatch.setitem(pretrained.RELEASED, NAME, known)
    with pytest.raises(UserError, match=f"another file than the released one .{field} .*expected {value}"):
        load_pretrained(NAME)
    assert not (cache / "model.pt").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"size": 1}', b"\xff", b"[" * 10_000])
def test_a_damaged_record_of_a_download_is_one_clear_line(cache, serve, content):
    serve()
    folder = cache.parent / "elsewhere"
    file = pretrained.torch_file(pretrained.RELEASED[NAME], folder)
    file.with_name(file.name + ".json").write_bytes(content)
    with pytest.raises(UserError, match=r"\.json is damaged: remove it and the file beside it, and the model is"):
        pretrained.torch_file(pretrained.RELEASED[NAME], folder)


def test_a_cached_file_that_has_changed_is_noticed(cache, serve, released):
    serve()
    folder = cache.parent / "elsewhere"
    file = pretrained.torch_file(pretrained.RELEASED[NAME], folder)
    assert pretrained.torch_file(pretrained.RELEASED[NAME], folder) == file
    file.write_bytes(released[:-1] + b"x")
    with pytest.raises(UserError, match=r"has changed since its download \(sha256"):
        pretrained.torch_file(pretrained.RELEASED[NAME], folder)


def test_an_unknown_name_and_a_cache_that_cannot_be_used(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"'sashimi'.*diffwave_sc09, sashimi_diffwave_500k_sc09"):
        load_pretrained("sashimi")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(UserError, match=CACHE_VARIABLE):
        load_pretrained(NAME)


def test_the_cache_folder_follows_the_platform(monkeypatch, tmp_path):
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    assert cache_folder().name == "diffwave_jax"
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert cache_folder() == tmp_path
