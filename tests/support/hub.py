"""A hub of files on this machine, which the Hugging Face libraries talk to as they talk to the real one."""

import base64
import contextlib
import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves `folder/owner/name/...` as repositories, takes commits to them; keeps what was asked for. Who writes needs
    the token."""

    token = "hf_a-token-of-the-tests"

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.asked = folder, list[str]()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.server.asked.append(f"{self.command} {path}")
        kind, *rest = path.split("/")
        if kind == "api" and len(rest) >= 3 and rest[0] in ("models", "datasets"):
            return self._describe(rest[1:], "/".join(rest[1:3]))
        if kind == "datasets":
            kind, *rest = rest
        if len(rest) >= 4 and rest[1] == "resolve":
            return self._file(self.server.folder / kind / rest[0] / "/".join(rest[3:]))
        return self._missing("RepoNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.server.asked.append(f"{self.command} {path}")
        body = self._body()
        if path == "api/validate-yaml":
            return self._answer(b'{"errors": [], "warnings": []}')
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return self._answer(b'{"error": "Invalid credentials"}', status=401)
        if path == "api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'lab'}/{asked['name']}"
            (self.server.folder / name).mkdir(parents=True, exist_ok=True)
            return self._answer(json.dumps({"url": f"{self.server.address}/{name}", "name": name}).encode())
        _, _, owner, name, action, *_ = path.split("/")
        if action == "preupload":
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            return self._answer(json.dumps({"files": files}).encode())
        return self._commit(self.server.folder / owner / name, body)

    def _commit(self, folder: Path, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                path = folder / line["value"]["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(base64.b64decode(line["value"]["content"]))
        where = f"{self.server.address}/{folder.parent.name}/{folder.name}/commit/{COMMIT}"
        self._answer(json.dumps({"success": True, "commitOid": COMMIT, "commitUrl": where}).encode())

    def _body(self) -> bytes:
        """What was sent, whole or in chunks."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _describe(self, parts: list[str], name: str) -> None:
        folder = self.server.folder / name
        if not folder.is_dir():
            return self._missing("RepoNotFound")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        names = [path.relative_to(folder).as_posix() for path in files]
        if parts[2:3] == ["tree"]:
            under = "/".join(parts[4:])
            listed = [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": _etag(path)}
                for name, path in zip(names, files, strict=True)
                if name.startswith(under)
            ]
            return self._answer(json.dumps(listed).encode()) if listed else self._missing("EntryNotFound")
        found = {
            "id": name,
            "modelId": name,
            "sha": COMMIT,
            "private": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [{"rfilename": name} for name in names],
        }
        return self._answer(json.dumps(found).encode())

    def _file(self, path: Path) -> None:
        if not path.is_file():
            return self._missing("EntryNotFound")
        return self._answer(path.read_bytes(), "application/octet-stream", ETag=f'"{_etag(path)}"')

    def _missing(self, code: str) -> None:
        self._answer(b"{}", status=404, **{"X-Error-Code": code})

    def _answer(self, body: bytes, kind: str = "application/json", status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "X-Repo-Commit": COMMIT,
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on the console."""


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    """A hub that answers while the block runs."""
    hub = Hub(folder)
    Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
