"""A server that speaks the Hugging Face Hub's protocol, as far as making, filling and reading repositories needs it."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_test"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """Serves `repositories` {"owner/name": {file name: content}} at `url` while it is entered."""

    def __init__(self):
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}  # by SHA-256: what came as a large file
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HubServer":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Ends the service; may be called again."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer

    def do_HEAD(self):
        self._give(with_content=False)

    def do_GET(self):
        self._give(with_content=True)

    def _give(self, *, with_content: bool):
        """A file: /owner/name/resolve/REVISION/FILE."""
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        if not match or match[1] not in self.hub.repositories:
            return self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        if match[2] not in ("main", COMMIT):
            return self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        files = self.hub.repositories[match[1]]
        if match[3] not in files:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        content = files[match[3]]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        return self._answer(200, content, headers, with_content=with_content)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, b'{"error": "Invalid username or password."}')
        if self.path == "/api/repos/create":
            said = json.loads(body)
            name = f"{said['organization']}/{said['name']}" if said.get("organization") else f"me/{said['name']}"
            self.hub.repositories.setdefault(name, {})
            return self._json({"url": f"{self.hub.url}/{name}", "name": name, "id": name})
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if match := re.fullmatch(r"/api/models/(.+)/preupload/main", self.path):
            files = [{"path": file["path"], "uploadMode": _mode(file), "shouldIgnore": False} for file in _files(body)]
            return self._json({"files": files})
        if self.path.endswith(".git/info/lfs/objects/batch"):
            upload = [{**one, "actions": {"upload": {"href": f"{self.hub.url}/put"}}} for one in _objects(body)]
            return self._json({"transfer": "basic", "objects": upload})
        if match := re.fullmatch(r"/api/models/(.+)/commit/main", self.path):
            for line in map(json.loads, body.splitlines()):
                self._commit(self.hub.repositories[match[1]], line["key"], line["value"])
            return self._json({"commitUrl": f"{self.hub.url}/{match[1]}/commit/{COMMIT}", "commitOid": COMMIT})
        return self._answer(404, b"")

    def _commit(self, files: dict[str, bytes], kind: str, value: dict):
        if kind == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        if kind == "lfsFile":
            files[value["path"]] = self.hub.objects[value["oid"]]

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.objects[hashlib.sha256(content).hexdigest()] = content
        self._answer(200, b"")

    def _json(self, content: dict):
        self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes, headers: dict | None = None, *, with_content: bool = True):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_content and self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


def _files(body: bytes) -> list[dict]:
    return json.loads(body)["files"]


def _objects(body: bytes) -> list[dict]:
    return json.loads(body)["objects"]


def _mode(file: dict) -> str:
    return "lfs" if file["path"].endswith(".safetensors") else "regular"
