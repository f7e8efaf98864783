import functools
import hashlib
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from diffwave_jax.data import builder, download, open_dataset
from diffwave_jax.errors import UserError
from tests.helpers.audio_files import pack, write_layout

OFFICIAL_URL = download.URL
OFFICIAL_INFO = download.URL_INFOS[OFFICIAL_URL]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        self.server.requests.append(self.path)


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    pack(write_layout(tmp_path / "clips", {"zero": 2, "bed": 1}), folder / "speech.tar.gz")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    server.requests = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def register(server, tmp_path, monkeypatch):
    """Puts a file of the local server in the place of the official archive."""

    def put(name, checksum=None):
        content = (tmp_path / "served" / "speech.tar.gz").read_bytes()
        url = f"http://127.0.0.1:{server.server_port}/{name}"
        checksum = checksum or hashlib.sha256(content).hexdigest()
        info = tfds.download.checksums.UrlInfo(size=len(content), checksum=checksum, filename=name)
        monkeypatch.setattr(download, "URL", url)
        monkeypatch.setattr(builder.ClipBuilder, "url_infos", {url: info})

    return put


def test_downloads_once_and_prepares(register, config, server):
    register("speech.tar.gz")
    assert len(open_dataset(config)) == 2
    assert len(open_dataset(config | {"length": 200})) == 2
    assert server.requests == ["/speech.tar.gz"]


def test_a_wrong_checksum_is_refused_and_removed(register, config):
    register("speech.tar.gz", checksum="0" * 64)
    with pytest.raises(UserError, match=r"speech\.tar\.gz gave a file of the wrong checksum, now removed; try again"):
        open_dataset(config)
    left = {path.name for path in Path(config["data_dir"]).rglob("*") if path.is_file()}
    assert left == {"lock"}


def test_an_absent_file_is_one_clear_line(register, config):
    register("absent.tar.gz")
    with pytest.raises(UserError, match=r"absent\.tar\.gz cannot be downloaded \(.*404.*\); fetch it another way"):
        open_dataset(config)


def test_the_registered_checksum_is_the_one_tfds_knows():
    path = Path(tfds.__file__).parent / "datasets" / "speech_commands" / "checksums.tsv"
    assert tfds.download.checksums.load_url_infos(path)[OFFICIAL_URL] == OFFICIAL_INFO


def test_the_data_set_is_registered_with_tfds(tmp_path):
    sc09 = tfds.builder("sc09", data_dir=str(tmp_path), file_format="array_record")
    assert sc09.url_infos[OFFICIAL_URL] == OFFICIAL_INFO
    assert sc09.info.features["audio"].shape == (16000,)
