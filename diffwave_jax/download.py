"""Downloads of single files that survive interruptions: resumable, checked, complete or not there at all."""

import hashlib
import http.client
import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from diffwave_jax.errors import UserError

OnProgress = Callable[[int, int | None], None]  # bytes done, bytes in all (None where the server does not say)

CHUNK = 2**20
TIMEOUT = 30.0  # seconds without a byte
PAUSES = (1.0, 3.0, 10.0)  # seconds before each new attempt; an attempt that got further starts them anew
CONNECTION_ERRORS = (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError)
ASK_AGAIN = (http.client.REQUEST_TIMEOUT, http.client.TOO_MANY_REQUESTS)


class Unreachable(UserError):
    """The server cannot be reached, or does not have the file."""


def download(
    url: str,
    target: Path,
    *,
    check: Callable[[Path], None],
    on_progress: OnProgress | None = None,
) -> None:
    """Downloads `url` to `target`, which appears only when it is complete and `check` has nothing against it.

    What an interruption leaves lies beside the target as `<name>.part` and is continued by the next call, provided
    that the server still has the same file (its ETag or modification date).

    Args:
      url: http or https.
      target: the file.
      check: called with the complete file; raises `UserError` to refuse it, and then it is removed.
      on_progress: told of each piece.

    Raises:
      Unreachable: no connection, even after some attempts, or no such file.
      UserError: what came is refused by `check`, or cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = _Part(target)
        _fetch_persistently(url, part, on_progress)
        try:
            check(part.path)
        except UserError:
            part.remove()
            raise
        part.path.replace(target)
        part.remove()
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}; free some space there") from error


def sha256(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Part:
    """A file on its way, and the tag of the version on the server that it is a part of."""

    def __init__(self, target: Path):
        self.path = target.with_name(target.name + ".part")
        self._tag_path = target.with_name(target.name + ".part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def tag(self, url: str) -> str | None:
        """The tag to continue with; None where there is nothing to continue."""
        if not self.size or not self._tag_path.exists():
            return None
        try:
            saved = json.loads(self._tag_path.read_text())
            return saved["tag"] if saved["url"] == url else None
        except (ValueError, KeyError, TypeError):
            return None

    def start(self, url: str, tag: str | None) -> None:
        """Forgets what was there, and notes of which version the coming bytes are."""
        self.remove()
        if tag:
            self._tag_path.write_text(json.dumps({"url": url, "tag": tag}))

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._tag_path.unlink(missing_ok=True)


def _fetch_persistently(url: str, part: _Part, on_progress: OnProgress | None) -> None:
    pauses, received = iter(PAUSES), False
    while True:
        before = part.size
        try:
            return _fetch(url, part, on_progress)
        except urllib.error.HTTPError as error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and before:
                part.remove()  # longer than the file it was a part of
                continue
            if error.code < 500 and error.code not in ASK_AGAIN:
                raise Unreachable(f"{url} cannot be had (HTTP {error.code} {error.reason})") from error
            reason = error
        except CONNECTION_ERRORS as error:
            reason = error
        if part.size > before:
            pauses, received = iter(PAUSES), True
        offline = not received and isinstance(getattr(reason, "reason", None), socket.gaierror)
        pause = None if offline else next(pauses, None)
        if pause is None:
            raise Unreachable(f"{url} cannot be reached ({_reason(reason)})") from reason
        time.sleep(pause)


def _reason(error: Exception) -> str:
    text = str(error.reason if type(error) is urllib.error.URLError else error)
    return " ".join(text.split()) or type(error).__name__


def _fetch(url: str, part: _Part, on_progress: OnProgress | None) -> None:
    """One attempt; raises one of `CONNECTION_ERRORS` where the connection ends early."""
    request = urllib.request.Request(url, headers={"User-Agent": "diffwave_jax"})
    tag = part.tag(url)
    if tag:
        request.add_header("Range", f"bytes={part.size}-")
        request.add_header("If-Range", tag)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        continued = response.status == http.client.PARTIAL_CONTENT
        if continued and not response.headers.get("Content-Range", "").startswith(f"bytes {part.size}-"):
            part.remove()
            raise ConnectionError("the server continued at the wrong place")
        if not continued:
            part.start(url, _tag_of(response.headers))
        _append(response, part, on_progress)


def _tag_of(headers: http.client.HTTPMessage) -> str | None:
    """What tells this version of the file from others: a strong ETag, or the modification date."""
    etag = headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _append(response: http.client.HTTPResponse, part: _Part, on_progress: OnProgress | None) -> None:
    done = part.size
    announced = response.headers.get("Content-Length")
    total = done + int(announced) if announced else None
    with part.path.open("ab") as file:
        while chunk := response.read(CHUNK):
            file.write(chunk)
            done += len(chunk)
            if on_progress:
                on_progress(done, total)
    if total is not None and done < total:
        raise ConnectionError(f"the connection ended after {done} of {total} bytes")
