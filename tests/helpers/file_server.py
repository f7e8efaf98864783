"""An HTTP server of one file that can misbehave."""

import dataclasses
import re
import threading
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
    """

    content: bytes
    etag: str | None = '"v1"'
    break_after: list[int] = dataclasses.field(default_factory=list)
    status: list[int] = dataclasses.field(default_factory=list)
    ranges: bool = True
    range_shift: int = 0
    says_length: bool = True
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
        self.send_response(206 if start else 200)
        if start:
            shown = start + behaviour.range_shift
            self.send_header("Content-Range", f"bytes {shown}-{len(behaviour.content) - 1}/{len(behaviour.content)}")
        if behaviour.says_length:
            self.send_header("Content-Length", str(len(body)))
        if behaviour.etag:
            self.send_header("ETag", behaviour.etag)
        self.end_headers()
        if behaviour.break_after:
            body = body[: behaviour.break_after.pop(0)]
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_):
        pass
