"""A hub on this machine: the calls that huggingface_hub makes to create a repository and commit to it, and no more."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_local"


class Hub:
    """What it was sent: repositories with their files, by path; `large` are those that are sent apart."""

    def __init__(self) -> None:
        self.url = ""
        self.repositories: dict[str, bool] = {}
        self.files: dict[str, bytes] = {".gitattributes": b"", "old.bin": b"old"}
        self.objects: dict[str, bytes] = {}
        self.messages: list[str] = []
        self.strange: list[str] = []

    def answer(self, method: str, path: str, body: bytes) -> Any:
        match method, path.partition("?")[0].strip("/").split("/"):
            case "POST", ["api", "repos", "create"]:
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}"
                self.repositories[name] = asked.get("visibility") == "private" or asked.get("private") is True
                return {"url": f"{self.url}/{name}"}
            case "POST", ["api", "validate-yaml"]:
                return {"errors": [], "warnings": []}
            case "GET", ["api", "models", _, _, *_] if "/tree/" in path:
                return [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in self.files]
            case "POST", ["api", "models", _, _, "preupload", "main"]:
                names = [one["path"] for one in json.loads(body)["files"]]
                modes = {name: "lfs" if name.endswith(".onnx") else "regular" for name in names}
                return {"files": [{"path": k, "uploadMode": v, "shouldIgnore": False} for k, v in modes.items()]}
            case "POST", [_, _, "info", "lfs", "objects", "batch"]:
                return {"transfer": "basic", "objects": [self._upload(one) for one in json.loads(body)["objects"]]}
            case "PUT", ["upload", oid]:
                self.objects[oid] = body
                return {}
            case "POST", ["api", "models", owner, name, "commit", "main"]:
                for line in body.splitlines():
                    self._commit(json.loads(line))
                return {"commitUrl": f"{self.url}/{owner}/{name}/commit/{'1' * 40}", "commitOid": "1" * 40}
        self.strange.append(f"{method} {path}")
        return None

    def _upload(self, one: dict[str, Any]) -> dict[str, Any]:
        return {**one, "actions": {"upload": {"href": f"{self.url}/upload/{one['oid']}"}}}

    def _commit(self, line: dict[str, Any]) -> None:
        value = line["value"]
        if line["key"] == "header":
            self.messages.append(value["summary"])
        elif line["key"] == "file":
            self.files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            self.files[value["path"]] = self.objects[value["oid"]]
        elif line["key"] == "deletedFile":
            del self.files[value["path"]]
        else:
            self.strange.append(line["key"])


@contextmanager
def hub_stand_in() -> Iterator[Hub]:
    """It listens on loopback until the end of the block."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                body = self.chunks()
            allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}" or self.path.startswith("/upload/")
            found = hub.answer(self.command, self.path, body) if allowed else {"error": "Invalid username or password."}
            content = json.dumps(found).encode()
            self.send_response(401 if not allowed else 404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def chunks(self) -> bytes:
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        do_GET = do_POST = do_PUT = answer  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
