"""An HTTP server of one file that can misbehave."""

import contextlib
import dataclasses
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclasses.dataclass
class Behaviour:
    """How the server answers; `requests` records the Range header of each request, None where there was none.

    Attributes:
      content: the file.
      etag: its version; None for no ETag.
      break_after: bytes after which each of the next connections is cut, one entry a connection; empty for none.
      status: answered instead of the file, one entry a request; empty for the file.
      ranges: whether requests for a part are honoured.
      range_shift: bytes by which a part begins at the wrong place.
      says_length: whether the length is announced.
      headers: sent with the file, in the place of the usual ones of these names; None leaves one out.
      raw: sent as the whole answer, status line and all, instead of everything else; one entry a request.
      drip: seconds between single bytes, from the status line on; 0 for all at once.
    """

    content: bytes
    etag: str | None = '"v1"'
    break_after: list[int] = dataclasses.field(default_factory=list)
    status: list[int] = dataclasses.field(default_factory=list)
    ranges: bool = True
    range_shift: int = 0
    says_length: bool = True
    headers: dict[str, str | None] = dataclasses.field(default_factory=dict)
    raw: list[bytes] = dataclasses.field(default_factory=list)
    drip: float = 0.0
    requests: list[str | None] = dataclasses.field(default_factory=list)


class FileServer:
    """Serves `behaviour.content` at `url` while it is entered."""

    def __init__(self, behaviour: Behaviour):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"behaviour": behaviour}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_port}/model.pt"

    def __enter__(self) -> "FileServer":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self):
        behaviour, wanted = self.behaviour, self.headers.get("Range")
        behaviour.requests.append(wanted)
        if behaviour.raw:
            return self._write(behaviour.raw.pop(0))
        if behaviour.status:
            return self.send_error(behaviour.status.pop(0))
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
        if start > len(behaviour.content):
            return self.send_error(416)
        if not behaviour.ranges or self.headers.get("If-Range") != behaviour.etag:
            start = 0
        self._send(start)

    def _send(self, start: int):
        behaviour = self.behaviour
        body = behaviour.content[start:]
        shown, total = start + behaviour.range_shift, len(behaviour.content)
        headers = {
            "Content-Range": f"bytes {shown}-{total - 1}/{total}" if start else None,
            "Content-Length": str(len(body)) if behaviour.says_length else None,
            "ETag": behaviour.etag,
        }
        self.send_response(206 if start else 200)
        for name, value in (headers | behaviour.headers).items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if behaviour.break_after:
            body = body[: behaviour.break_after.pop(0)]
        self._write(body)

    def _write(self, content: bytes):
        self.close_connection = True
        pieces = [content[i : i + 1] for i in range(len(content))] if self.behaviour.drip else [content]
        with contextlib.suppress(ConnectionError):  # the other side may have had enough
            for piece in pieces:
                self.wfile.write(piece)
                time.sleep(self.behaviour.drip)

    def log_message(self, *_):
        pass
