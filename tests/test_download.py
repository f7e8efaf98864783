import socket
import urllib.request

import pytest

from diffwave_jax import download as download_module
from diffwave_jax.download import Unreachable, download, sha256
from diffwave_jax.errors import UserError
from tests.helpers.file_server import Behaviour, FileServer

CONTENT = bytes(range(256)) * 4000  # a megabyte


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(download_module, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(download_module, "CHUNK", 2**16)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "folder" / "model.pt"


def fetch(behaviour: Behaviour, target, check=lambda part: None, on_progress=None):
    with FileServer(behaviour) as server:
        download(server.url, target, check=check, on_progress=on_progress)


def files(target) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_and_its_progress(target):
    seen = []
    fetch(Behaviour(CONTENT), target, on_progress=lambda *now: seen.append(now))
    assert target.read_bytes() == CONTENT
    assert files(target) == ["model.pt"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_a_length_that_is_not_announced(target):
    seen = []
    fetch(Behaviour(CONTENT, says_length=False), target, on_progress=lambda *now: seen.append(now))
    assert target.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), None)


def test_broken_connections_are_taken_up_where_they_broke(target):
    behaviour = Behaviour(CONTENT, break_after=[300_000, 200_000, 0, 1, 400_000])
    fetch(behaviour, target)
    assert target.read_bytes() == CONTENT
    starts = [None, 300_000, 500_000, 500_000, 500_001, 900_001]
    assert behaviour.requests == [start and f"bytes={start}-" for start in starts]


def test_the_next_call_continues_what_the_last_one_left(target):
    behaviour = Behaviour(CONTENT, break_after=[300_000, 0, 0, 0])
    with FileServer(behaviour) as server:
        with pytest.raises(Unreachable, match="ended after 300000 of 1024000 bytes"):
            download(server.url, target, check=lambda part: None)
        assert files(target) == ["model.pt.part", "model.pt.part.json"]
        download(server.url, target, check=lambda part: None)
    assert target.read_bytes() == CONTENT
    assert behaviour.requests[0] is None and set(behaviour.requests[1:]) == {"bytes=300000-"}
    assert files(target) == ["model.pt"]


@pytest.mark.parametrize(
    "change",
    [
        {"etag": '"v2"', "content": CONTENT[::-1]},  # another version: the old part is of no use
        {"etag": None, "content": CONTENT[::-1]},
        {"ranges": False},
        {"content": CONTENT[:200_000]},  # the part is longer than the file: HTTP 416
    ],
    ids=["another version", "no version", "no parts", "a shorter file"],
)
def test_what_cannot_be_continued_starts_again(target, change):
    behaviour = Behaviour(CONTENT, break_after=[300_000, 0, 0, 0])
    with FileServer(behaviour) as server:
        with pytest.raises(Unreachable):
            download(server.url, target, check=lambda part: None)
        for field, value in change.items():
            setattr(behaviour, field, value)
        download(server.url, target, check=lambda part: None)
    assert target.read_bytes() == behaviour.content


def test_without_a_version_nothing_is_continued(target):
    behaviour = Behaviour(CONTENT, etag=None, break_after=[300_000, 200_000])
    fetch(behaviour, target)
    assert target.read_bytes() == CONTENT
    assert behaviour.requests == [None, None, None]


def test_a_part_that_begins_at_the_wrong_place_is_not_used(target):
    behaviour = Behaviour(CONTENT, break_after=[300_000], range_shift=7)
    fetch(behaviour, target)
    assert target.read_bytes() == CONTENT
    assert behaviour.requests == [None, "bytes=300000-", None]


@pytest.mark.parametrize("note", [b"", b"{", b"[1]", b'{"url": 1}', b"\xff", b"[" * 10_000])
def test_a_damaged_note_of_the_part_starts_again(target, note):
    target.parent.mkdir()
    target.with_name("model.pt.part").write_bytes(b"something else")
    target.with_name("model.pt.part.json").write_bytes(note)
    fetch(Behaviour(CONTENT), target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"v2"'},
        {"Content-Range": f"bytes 300000-{len(CONTENT)}/{len(CONTENT) + 1}"},
        {"Content-Range": f"bytes 300000-399999/{len(CONTENT)}"},
        {"Content-Range": "bytes 300000-/x"},
    ],
    ids=["another ETag", "another total", "a part of the rest", "no range"],
)
def test_a_continuation_of_something_else_is_not_spliced_in(target, headers):
    behaviour = Behaviour(CONTENT, break_after=[300_000, 0, 0, 0])
    with FileServer(behaviour) as server:
        with pytest.raises(Unreachable):
            download(server.url, target, check=lambda part: None)
        behaviour.headers, behaviour.content = headers, bytes(len(CONTENT))
        download(server.url, target, check=lambda part: None)
    assert target.read_bytes() == behaviour.content
    assert behaviour.requests[-2:] == ["bytes=300000-", None]


def test_a_part_that_nobody_asked_for_is_refused(target):
    answer = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nhello"
    with pytest.raises(Unreachable, match="continued at the wrong place"):
        fetch(Behaviour(CONTENT, raw=[answer] * 9), target)
    assert files(target) == []


@pytest.mark.parametrize("says_length", [True, False])
def test_a_file_larger_than_wanted_is_refused(target, says_length):
    behaviour = Behaviour(CONTENT, says_length=says_length)
    with FileServer(behaviour) as server, pytest.raises(Unreachable, match="more than 500,000"):
        download(server.url, target, check=lambda part: None, largest=500_000)
    assert len(behaviour.requests) == 1
    assert sum(path.stat().st_size for path in target.parent.iterdir()) <= 500_000


def test_a_server_that_stays_connected_after_the_last_byte_is_not_waited_for(target, monkeypatch):
    monkeypatch.setattr(download_module, "TIMEOUT", 5.0)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more that is not part of it"
    fetch(Behaviour(CONTENT, raw=[answer]), target)
    assert target.read_bytes() == b"hello"


@pytest.mark.parametrize(
    ("what", "content"), [("no answer within 0.3 seconds", b""), ("only .* bytes came in", b"HTTP/1.0 200 OK\r\n\r\n")]
)
def test_drips_come_to_an_end(target, monkeypatch, what, content):
    monkeypatch.setattr(download_module, "PATIENCE", 0.3)
    raw = content + b"x" * 100_000 if content else b"HTTP/1.0 200 OK\r\nX-Filler: " + b"x" * 100_000
    drip = 0.01 if content else 0.05  # the first lets the header, of 19 bytes, through in time
    with pytest.raises(Unreachable, match=what):
        fetch(Behaviour(CONTENT, raw=[raw] * 9, drip=drip), target)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 404 \x1b[2Jno\x07 such file\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[bad/x\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:port/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http:///x\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/x\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
        b"HTTP/1.1 302 Found\r\n\r\n",
        b"\x1b[31mHello\r\n\r\n",
        b"",
    ],
)
# Python's http.client leaves its file of the socket to the garbage collector where an answer is no HTTP.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_strange_answer_is_one_line(target, answer):
    with pytest.raises(Unreachable) as caught:
        fetch(Behaviour(CONTENT, raw=[answer] * 9), target)
    assert str(caught.value).isprintable()
    assert not target.exists()


def test_a_redirection_is_followed(target):
    behaviour = Behaviour(CONTENT, raw=[b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n"])
    fetch(behaviour, target)
    assert target.read_bytes() == CONTENT


def test_https_stays_https():
    request = urllib.request.Request("https://example.org/model.pt")
    redirects = download_module._SafeRedirects()
    with pytest.raises(Unreachable, match=r"redirects to http://example\.org/model\.pt, which is not followed"):
        redirects.redirect_request(request, None, 302, "Found", {}, "http://example.org/model.pt")
    followed = redirects.redirect_request(request, None, 302, "Found", {}, "https://example.org/elsewhere.pt")
    assert followed.full_url == "https://example.org/elsewhere.pt"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "file:///etc/passwd", "x", "http://[bad/"])
def test_other_addresses_are_refused(target, url):
    with pytest.raises(Unreachable, match=r"no address of the web|leads to an address that is none"):
        download(url, target, check=lambda part: None)


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_refusal_is_final(target, status):
    behaviour = Behaviour(CONTENT, status=[status] * 9)
    with pytest.raises(Unreachable, match=f"HTTP {status}"):
        fetch(behaviour, target)
    assert len(behaviour.requests) == 1
    assert files(target) == []


def test_a_passing_trouble_of_the_server_is_waited_for(target):
    behaviour = Behaviour(CONTENT, status=[503, 429, 500])
    fetch(behaviour, target)
    assert target.read_bytes() == CONTENT


def test_a_lasting_trouble_of_the_server_is_not(target):
    behaviour = Behaviour(CONTENT, status=[503] * 9)
    with pytest.raises(Unreachable, match="503"):
        fetch(behaviour, target)
    assert len(behaviour.requests) == 4


def test_nobody_there(target):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match=r"cannot be reached .*[Cc]onnection refused"):
            download(f"http://127.0.0.1:{nobody.getsockname()[1]}/x", target, check=lambda part: None)
    assert not target.exists()


def test_offline_is_said_at_once(target, monkeypatch):
    monkeypatch.setattr(download_module, "PAUSES", (1000.0,))
    with pytest.raises(Unreachable, match="cannot be reached"):
        download("http://host.invalid/model.pt", target, check=lambda part: None)


def test_what_the_check_refuses_is_removed(target):
    def refuse(part):
        assert part.read_bytes() == CONTENT
        raise UserError("not what was wanted")

    with pytest.raises(UserError, match="not what was wanted"):
        fetch(Behaviour(CONTENT), target, check=refuse)
    assert files(target) == []


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        fetch(Behaviour(CONTENT), tmp_path / "file" / "model.pt")


def test_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
