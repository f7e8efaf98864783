"""Downloads of single files that survive interruptions: resumable, checked, complete or not there at all."""

import errno
import hashlib
import http.client
import json
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from pathlib import Path

from diffwave_jax.errors import UserError
from diffwave_jax.files import cannot_write

OnProgress = Callable[[int, int | None], None]  # bytes done, bytes in all (None where the server does not say)

CHUNK = 2**20
TIMEOUT = 30.0  # seconds without a byte
PATIENCE = 60.0  # seconds until an answer must have begun, and over which the rate of its body is measured
SLOWEST = 1000.0  # bytes a second
LARGEST = 2**34  # bytes, where the caller knows no better
PAUSES = (1.0, 3.0, 10.0)  # seconds before each new attempt; an attempt that got further starts them anew
FURTHER = 2**16  # bytes that count as having got further
CONNECTION_ERRORS = (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError)
ASK_AGAIN = (http.client.REQUEST_TIMEOUT, http.client.TOO_MANY_REQUESTS)
NO_NETWORK = (errno.ENETUNREACH, errno.ENETDOWN)
CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")


class Unreachable(UserError):
    """The server cannot be reached, does not have the file, or sends something else."""


class _Malformed(ConnectionError):
    """An answer that is no sound HTTP, or not what was asked for."""


def download(
    url: str,
    target: Path,
    *,
    check: Callable[[Path], None],
    on_progress: OnProgress | None = None,
    largest: int = LARGEST,
) -> None:
    """Downloads `url` to `target`, which appears only when it is complete and `check` has nothing against it.

    What an interruption leaves lies beside the target as `<name>.part` and is continued by the next call, provided
    that the server still has the same file (its ETag or modification date, and its size). Redirections are followed
    to http and https, and from https to https only.

    Args:
      url: http or https.
      target: the file.
      check: called with the complete file; raises `UserError` to refuse it, and then it is removed.
      on_progress: told of each piece.
      largest: bytes that the file may have.

    Raises:
      Unreachable: no connection, even after some attempts, no such file, or a larger one.
      UserError: what came is refused by `check`, or cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = _Part(target)
        _fetch_persistently(url, part, on_progress, largest)
        try:
            check(part.path)
        except UserError:
            part.remove()
            raise
        part.path.replace(target)
        part.remove()
    except OSError as error:
        raise cannot_write(target, error) from error


def sha256(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Part:
    """A file on its way, and a note of the version on the server that it is a part of."""

    def __init__(self, target: Path):
        self.path = target.with_name(target.name + ".part")
        self._note_path = target.with_name(target.name + ".part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def note(self, url: str) -> dict | None:
        """`{"url", "tag", "total"}` to continue with; None where there is nothing to continue."""
        if not self.size or not self._note_path.is_file():
            return None
        try:
            note = json.loads(self._note_path.read_text())
            usable = note["url"] == url and isinstance(note["tag"], str) and isinstance(note["total"], int | None)
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return note if usable else None

    def start(self, url: str, tag: str | None, total: int | None) -> None:
        """Forgets what was there, and notes of which version the coming bytes are."""
        self.remove()
        if tag:
            self._note_path.write_text(json.dumps({"url": url, "tag": tag, "total": total}))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)


def _fetch_persistently(url: str, part: _Part, on_progress: OnProgress | None, largest: int) -> None:
    pauses, received = iter(PAUSES), False
    while True:
        before = part.size
        try:
            return _fetch(url, part, on_progress, largest)
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and before:
                part.remove()  # longer than the file it was a part of
                continue
            if error.code < 500 and error.code not in ASK_AGAIN:
                raise Unreachable(f"{url} cannot be had (HTTP {error.code} {_short(error.reason)})") from error
            reason: Exception = error
        except CONNECTION_ERRORS as error:
            reason = error
        if part.size >= before + FURTHER:
            pauses, received = iter(PAUSES), True
        offline = not received and _no_network(getattr(reason, "reason", None))
        pause = None if offline else next(pauses, None)
        if pause is None:
            raise Unreachable(f"{url} cannot be reached ({_reason(reason)})") from reason
        time.sleep(pause)


def _no_network(reason: object) -> bool:
    return isinstance(reason, socket.gaierror) or getattr(reason, "errno", None) in NO_NETWORK


def _reason(error: Exception) -> str:
    text = str(error.reason if type(error) is urllib.error.URLError else error)
    return _short(" ".join(text.split())) or type(error).__name__


def _short(text: object) -> str:
    return str(text)[:200]


def _fetch(url: str, part: _Part, on_progress: OnProgress | None, largest: int) -> None:
    """One attempt; raises one of `CONNECTION_ERRORS` where the connection ends early."""
    note = part.note(url)
    with _ask(url, part.size, note["tag"] if note else None) as response:
        if response.status == http.client.PARTIAL_CONTENT:
            total = _checked_total(response, part, note)
        else:
            total = _content_length(response)
            part.start(url, _tag_of(response.headers), total)
        if (total or 0) > largest:
            raise Unreachable(f"{url} is not the file that was wanted: {total:,} bytes, more than {largest:,}")
        _append(response, part, total, on_progress, largest)


def _ask(url: str, start: int, tag: str | None) -> HTTPResponse:
    """The server's answer, its body still to be read: the file from byte `start` on if it still has the same `tag`."""
    headers = {"User-Agent": "diffwave_jax"} | ({"Range": f"bytes={start}-", "If-Range": tag} if tag else {})
    try:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise Unreachable(f"{url} is no address of the web: it must begin with http:// or https://")
        request = urllib.request.Request(url, headers=headers)
        opener = urllib.request.build_opener(_SafeRedirects)
        return _within(PATIENCE, lambda: opener.open(request, timeout=TIMEOUT))
    except (ValueError, http.client.InvalidURL) as error:
        raise Unreachable(f"{url} leads to an address that is none ({_short(error)})") from error


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections within the web, and never out of https."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        """The request that follows a redirection, as urllib makes it; `Unreachable` where none may follow."""
        before, after = (urllib.parse.urlsplit(url).scheme for url in (req.full_url, newurl))
        if after not in ("http", "https") or (before, after) == ("https", "http"):
            raise Unreachable(f"{req.full_url} redirects to {_short(newurl)}, which is not followed from {before}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(self, req, fp, code, msg, headers):
        """Asks `redirect_request` about every scheme; urllib asks only about those that it would follow itself."""
        location = urllib.parse.urljoin(req.full_url, headers.get("location") or headers.get("uri") or "")
        self.redirect_request(req, fp, code, msg, headers, location)
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _within(seconds: float, action: Callable[[], HTTPResponse]) -> HTTPResponse:
    """What `action` returns, or TimeoutError after so many seconds: a socket's timeout bounds each byte's wait only."""
    outcome: list = []

    def act() -> None:
        try:
            outcome.append((action(), None))
        except BaseException as error:  # raised again below, in the caller's thread
            outcome.append((None, error))

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError(f"no answer within {seconds:g} seconds")
    response, error = outcome[0]
    if error is not None:
        raise error
    return response


def _checked_total(response: HTTPResponse, part: _Part, note: dict | None) -> int:
    """The whole file's size by an answer that continues it; raises where it is no continuation of this part."""
    found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    first, last, total = map(int, found.groups()) if found else (-1, -1, -1)
    if note is None or first != part.size or last != total - 1:
        part.remove()
        raise _Malformed("the server continued at the wrong place")
    if _tag_of(response.headers) not in (None, note["tag"]) or note["total"] not in (None, total):
        part.remove()
        raise _Malformed("the server continued another version of the file")
    return total


def _content_length(response: HTTPResponse) -> int | None:
    announced = None if response.chunked else response.headers.get("Content-Length")
    if announced is not None and not re.fullmatch(r"[0-9]{1,19}", announced.strip()):
        raise _Malformed(f"the server announced a length of {_short(announced)!r}")
    return None if announced is None else int(announced)


def _tag_of(headers: http.client.HTTPMessage) -> str | None:
    """What tells this version of the file from others: a strong ETag, or the modification date."""
    etag = headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _append(
    response: HTTPResponse, part: _Part, total: int | None, on_progress: OnProgress | None, largest: int
) -> None:
    done = part.size
    with part.path.open("ab") as file:
        for chunk in _at_some_rate(_chunks(response, response.length)):
            done += len(chunk)
            if done > (largest if total is None else total):
                part.remove()
                raise Unreachable(f"{response.url} sends more than {total or largest:,} bytes: not the file wanted")
            file.write(chunk)
            if on_progress:
                on_progress(done, total)
    if total is not None and done < total:
        raise ConnectionError(f"the connection ended after {done} of {total} bytes")


def _chunks(response: HTTPResponse, left: int | None) -> Iterator[bytes]:
    """The `left` bytes of a body as they come; None for all there are. What is no sound HTTP is `_Malformed`."""
    while left is None or left > 0:
        try:
            chunk = response.read1(CHUNK if left is None else min(CHUNK, left))
        except CONNECTION_ERRORS:
            raise
        except (ValueError, OverflowError, OSError) as error:
            raise _Malformed(f"the connection broke ({_short(error)})") from error
        if not chunk:
            return
        left = None if left is None else left - len(chunk)
        yield chunk


def _at_some_rate(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Passes chunks on, and raises TimeoutError where they have come too slowly for `PATIENCE` seconds."""
    start, received = time.monotonic(), 0
    for chunk in chunks:
        received += len(chunk)
        passed = time.monotonic() - start
        if passed >= PATIENCE:
            if received < SLOWEST * passed:
                raise TimeoutError(f"only {received} bytes came in {passed:.0f} seconds")
            start, received = time.monotonic(), 0
        yield chunk
