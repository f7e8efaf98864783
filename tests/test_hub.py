"""Models on the Hub: put there and loaded again, their card, and what is said where that cannot be."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import diffwave_jax
from diffwave_jax import hub, pretrained
from diffwave_jax.errors import UserError
from diffwave_jax.generation.model_card import model_card
from tests.helpers.golden_vectors import golden_vocoder
from tests.helpers.hub_server import COMMIT, TOKEN, HubServer
from tests.helpers.tiny import tiny_generator

ROOT = Path(__file__).resolve().parents[1]
NAME = "someone/digits"
# How the library gives its HTTP client an upload; it need not be ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


@pytest.fixture(scope="module")
def model():
    return tiny_generator(n_classes=10, n_speakers=2)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """An empty Hub that this process talks to, with an empty cache here."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="the extra hub is not installed")
    with HubServer() as running:
        for name, value in (("ENDPOINT", running.url), ("HF_HUB_CACHE", str(tmp_path / "cache"))):
            monkeypatch.setattr(constants, name, value)
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


def test_there_and_back(server, model, tmp_path):
    scores = {
        "clips": 9,
        "reference": "fsdd",
        "classifier": "bundled",
        "scores": {"these clips": {"fid": {"value": 1.234}}},
    }
    (tmp_path / "evaluation.json").write_text(json.dumps(scores))
    page = model.push_to_hub(NAME, evaluation=tmp_path / "evaluation.json", licence="cc-by-sa-4.0")
    assert page == f"{server.url}/{NAME}"
    files = server.repositories[NAME]
    assert files.keys() == {"model.safetensors", "README.md"}
    card = files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: diffwave_jax\nlicense: cc-by-sa-4.0\n")
    assert 'load_pretrained("hf://someone/digits")' in card and "| these clips | 1.23 |" in card
    for address in (f"hf://{NAME}", f"hf://{NAME}@{COMMIT}"):
        loaded = diffwave_jax.load_pretrained(address)
        assert loaded.fingerprint == model.fingerprint == diffwave_jax.load(address).fingerprint
        assert np.array_equal(loaded.latents(1), model.latents(1))


def test_from_the_cache_without_a_connection(server, model, monkeypatch):
    model.push_to_hub(NAME)
    path = hub.fetch(f"hf://{NAME}")
    server.close()
    started = time.monotonic()
    assert hub.fetch(f"hf://{NAME}") == path
    assert time.monotonic() - started < 3  # the library alone tries again for ten seconds
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # as it does where nothing is kept, with longer pauses
    with pytest.raises(UserError, match="not in the Hub's cache, and the Hub cannot be reached"):
        hub.fetch("hf://someone/else")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hf://someone/els", "no model someone/els on the Hub, or a private one"),
        (f"hf://{NAME}@v2", "has no such revision"),
        ("hf://someone/empty", "has no model.safetensors"),
        ("hf://digits", "give owner/name"),
        ("hf://some one/digits", "give owner/name"),
        ("hf://a/b/c", "give owner/name"),
    ],
)
def test_wrong_names(server, address, said):
    server.repositories |= {NAME: {"model.safetensors": b""}, "someone/empty": {}}
    with pytest.raises(UserError) as caught:
        diffwave_jax.load_pretrained(address)
    assert said in str(caught.value)


def test_what_is_there_is_no_model(server):
    server.repositories[NAME] = {"model.safetensors": b"<html>"}
    with pytest.raises(UserError, match="copy or download it again"):
        diffwave_jax.load_pretrained(f"hf://{NAME}")


def test_nobody_is_logged_in(server, model, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match=r"the Hub refused someone/digits .*hf auth login"):
        model.push_to_hub(NAME)
    assert not server.repositories


def test_without_the_extra(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'diffwave_jax\[hub\]'"):
        diffwave_jax.load_pretrained(f"hf://{NAME}")


def test_no_extra_is_imported_unasked():
    program = (
        "import sys, diffwave_jax.pretrained; print([n for n in ('huggingface_hub', 'gradio') if n in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True) == "[]\n"


def test_a_card_says_what_the_config_says(model, tmp_path):
    card = model_card(NAME, model.config, model.num_parameters)
    assert "256" in card and "8000 Hz" in card and "Speakers: speaker0, speaker1." in card and "license" not in card
    vocoder = golden_vocoder("vocoder_lmnt_tiny")
    card = model_card(NAME, vocoder.config, vocoder.num_parameters)
    assert "audio of 80 mel bands at 22050 Hz" in card and "model.vocode(mel" in card
    (tmp_path / "evaluation.json").write_text("[]")
    with pytest.raises(UserError, match=r"no evaluation\.json that can be read"):
        model_card(NAME, model.config, 1, evaluation=tmp_path / "evaluation.json")


def test_the_list():
    models = diffwave_jax.list_pretrained()
    assert [model.name for model in models] == [*pretrained.BUNDLED, *pretrained.RELEASED]
    assert str(models[0]).startswith("digits: a spoken digit of your choice") and "CC BY-SA 4.0" in str(models[0])
    for model in models[: len(pretrained.BUNDLED)]:
        assert model.weights == diffwave_jax.load_pretrained(model.name).num_parameters
    assert {model.sample_rate for model in models} == {8000, 16000, 22050}
