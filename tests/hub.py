"""A Hub on this machine: serves folders as models and data sets, each at one commit.

    with hub.serve({"FacebookAI/roberta-base": Repo("model", folder, commit)}) as address:
        ...  # HF_ENDPOINT=address

It answers what `huggingface_hub` and `datasets` ask of the real one to read a repository: its
files, their sizes and hashes, and their content. Nothing is ever written.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

KINDS = {"model": "models", "dataset": "datasets"}


@dataclass(frozen=True)
class Repo:
    """A repository of the Hub."""

    kind: str
    """`model` or `dataset`."""
    folder: Path
    commit: str

    @property
    def files(self) -> dict[str, Path]:
        """The files by their names in the repository."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path for path in found}

    def info(self, name: str) -> dict[str, Any]:
        """Return what the Hub says of the repository."""
        return {
            "id": name,
            "sha": self.commit,
            "private": False,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "lastModified": "2026-01-01T00:00:00.000Z",
            "siblings": [{"rfilename": file} for file in self.files],
        }

    def tree(self, under: str = "") -> list[dict[str, Any]]:
        """Return the files and folders below a folder."""
        entries: dict[str, dict[str, Any]] = {}
        for file, path in self.files.items():
            if under and not file.startswith(f"{under}/"):
                continue
            for parent in Path(file).parents:
                if (folder := parent.as_posix()) not in (".", under):
                    entries[folder] = {"type": "directory", "path": folder, "oid": self.commit}
            entries[file] = {
                "type": "file", "path": file, "oid": etag(path), "size": path.stat().st_size
            }  # fmt: skip
        return list(entries.values())


def etag(path: Path) -> str:
    """Return what tells a file's content from any other's."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:40]


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    repos: Mapping[str, Repo] = {}
    asked: list[str]

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Answer without the content."""
        self._answer(content=False)

    def do_GET(self) -> None:
        """Answer with the content."""
        self._answer(content=True)

    def _find(self) -> tuple[str, Repo | None, bool, list[str]]:
        """Return the repository that the address names, whether by the API, and what follows."""
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/") if part]
        api = parts[:1] == ["api"]
        parts = parts[1:] if api else parts
        parts = parts[1:] if parts[:1] and parts[0] in KINDS.values() else parts
        name = "/".join(parts[:2])
        return name, self.repos.get(name), api, parts[2:]

    def _answer(self, *, content: bool) -> None:
        self.asked.append(f"{self.command} {self.path}")
        name, repo, api, rest = self._find()
        if repo is None:
            return self._send(200 if self.path == "/" else 404, b"")
        if api:
            if not rest or rest[0] == "revision":
                known = len(rest) < 2 or rest[1] in (repo.commit, "main")
                return self._json(repo.info(name)) if known else self._send(404, b"")
            if rest[0] == "tree":
                return self._json(repo.tree("/".join(rest[2:])))
            return self._send(404, b"")
        path = repo.files.get("/".join(rest[2:])) if rest[:1] == ["resolve"] else None
        if path is None or rest[1] not in (repo.commit, "main"):
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        headers = {
            "ETag": f'"{etag(path)}"',
            "X-Repo-Commit": repo.commit,
        }
        return self._send(200, path.read_bytes(), headers, content=content)

    def _json(self, found: Any) -> None:
        self._send(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def _send(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None,
        *, content: bool = True,
    ) -> None:  # fmt: skip
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if content and self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def serve(repos: Mapping[str, Repo]) -> Iterator[tuple[str, list[str]]]:
    """Serve repositories by their names.

    Yields:
        The address, and what it was asked: method and path of each request, as they come.
    """
    asked: list[str] = []
    handler = type("Served", (Handler,), {"repos": repos, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
