"""A hub on this machine, as far as huggingface_hub's client speaks to it: repositories of models with commits, branches
and tags, files by LFS, private and gated ones, and a token that may write."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

TOKEN = "hf_of_the_tests"
LARGE = (".safetensors",)


@dataclass
class Repository:
    """commits: the files of each by its name, the newest last; branches, tags: commits by name."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        name = hashlib.sha1(f"{len(self.commits)}{sorted(files)}".encode()).hexdigest()
        self.commits[name] = files
        self.branches[branch] = name
        return name

    def find(self, revision: str) -> str | None:
        known = {**self.tags, **self.branches}
        return known.get(revision, revision if revision in self.commits else None)


@dataclass
class Hub:
    """requests: method and path of each, in order; before_commit: called before a commit is accepted."""

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    before_commit: Any = None

    def files(self, repository: str, revision: str = "main") -> dict[str, bytes]:
        found = self.repositories[repository]
        commit = found.find(revision)
        assert commit is not None
        return found.commits[commit]


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, status: int, value: Any = None, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        content = json.dumps(value).encode() if value is not None else body
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, status: int, code: str) -> None:
        self.reply(status, {"error": code}, {"X-Error-Code": code, "X-Error-Message": code})

    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def may_write(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def handle_any(self) -> None:
        self.content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if path == "/api/validate-yaml":
            return self.reply(200, {"warnings": [], "errors": []})
        if path.startswith("/upload/"):
            self.hub.uploads[path.removeprefix("/upload/")] = self.content
            return self.reply(200, {})
        if path == "/api/repos/create":
            return self.create()
        for pattern, answer in ROUTES:
            if found := re.fullmatch(pattern, path):
                name, *rest = found.groups()
                repository = self.hub.repositories.get(name)
                if repository is None or (repository.private and not self.may_write):
                    return self.refuse(404 if self.may_write else 401, "RepoNotFound")
                if self.command == "POST" and not self.may_write:
                    return self.refuse(403, "Forbidden")
                return answer(self, repository, name, *rest)
        return self.reply(404, {"error": "no such address"})

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815 - names of the library

    def create(self) -> None:
        if not self.may_write:
            return self.reply(401, {"error": "Invalid credentials"})
        asked = self.json()
        name = f"{asked.get('organization') or 'ada'}/{asked['name']}"
        if name in self.hub.repositories:
            return self.reply(409, {"error": "exists", "url": f"{self.hub.address}/{name}"})
        hidden = asked.get("private") or asked.get("visibility") == "private"
        self.hub.repositories[name] = Repository(private=bool(hidden))
        self.hub.repositories[name].commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"})
        return self.reply(200, {"url": f"{self.hub.address}/{name}"})

    def refs(self, repository: Repository, name: str) -> None:
        def rows(kind: str, known: dict[str, str]) -> list[dict[str, str]]:
            return [{"name": k, "ref": f"refs/{kind}/{k}", "targetCommit": v} for k, v in known.items()]

        self.reply(
            200, {"branches": rows("heads", repository.branches), "tags": rows("tags", repository.tags), "converts": []}
        )

    def info(self, repository: Repository, name: str, revision: str = "main") -> None:
        commit = repository.find(revision)
        if commit is None:
            return self.refuse(404, "RevisionNotFound")
        siblings = [{"rfilename": file} for file in repository.commits[commit]]
        value = {"id": name, "modelId": name, "sha": commit, "private": repository.private, "siblings": siblings}
        return self.reply(200, {**value, "tags": [], "downloads": 0, "likes": 0})

    def tree(self, repository: Repository, name: str, revision: str) -> None:
        files = repository.commits[repository.find(revision) or ""]
        rows = []
        for path, content in files.items():
            row: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git_sha1(content)}
            if path.endswith(LARGE):
                row["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
            rows.append(row)
        self.reply(200, rows)

    def resolve(self, repository: Repository, name: str, revision: str, path: str) -> None:
        if repository.gated and not self.may_write:
            return self.refuse(403, "GatedRepo")
        commit = repository.find(revision)
        content = repository.commits[commit or ""].get(path)
        if content is None:
            return self.refuse(404, "EntryNotFound")
        tag = hashlib.sha256(content).hexdigest() if path.endswith(LARGE) else git_sha1(content)
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": str(commit), "Accept-Ranges": "bytes"}
        return self.reply(200, headers=headers, body=content)

    def preupload(self, repository: Repository, name: str, revision: str) -> None:
        rows = [
            {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular", "shouldIgnore": False}
            for f in self.json()["files"]
        ]
        self.reply(200, {"files": rows})

    def batch(self, repository: Repository, name: str) -> None:
        rows = [
            {**one, "actions": {"upload": {"href": f"{self.hub.address}/upload/{one['oid']}", "header": {}}}}
            for one in self.json()["objects"]
        ]
        self.reply(200, {"transfer": "basic", "objects": rows})

    def commit(self, repository: Repository, name: str, revision: str) -> None:
        if self.hub.before_commit:
            self.hub.before_commit(repository)
        files = dict(repository.commits[repository.branches[revision]])
        for line in map(json.loads, self.content.splitlines()):
            value = line["value"]
            if (
                line["key"] == "header"
                and value.get("parentCommit", repository.branches[revision]) != repository.branches[revision]
            ):
                return self.reply(412, {"error": "A commit has happened since. Please refresh and try again."})
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if line["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
            if line["key"] == "deletedFile":
                del files[value["path"]]
        made = repository.commit(revision, files)
        return self.reply(200, {"commitUrl": f"{self.hub.address}/{name}/commit/{made}", "commitOid": made})

    def branch(self, repository: Repository, name: str, branch: str) -> None:
        repository.branches[branch] = repository.branches["main"]
        self.reply(200, {})

    def tag(self, repository: Repository, name: str, revision: str) -> None:
        commit = repository.find(revision)
        assert commit is not None
        repository.tags[self.json()["tag"]] = commit
        self.reply(200, {})


OWNED = r"([\w.-]+/[\w.-]+)"
ROUTES: list[tuple[str, Any]] = [
    (rf"/api/models/{OWNED}/refs", Handler.refs),
    (rf"/api/models/{OWNED}", Handler.info),
    (rf"/api/models/{OWNED}/revision/(.+)", Handler.info),
    (rf"/api/models/{OWNED}/tree/([^/]+)/?", Handler.tree),
    (rf"/api/models/{OWNED}/preupload/(.+)", Handler.preupload),
    (rf"/api/models/{OWNED}/commit/(.+)", Handler.commit),
    (rf"/api/models/{OWNED}/branch/(.+)", Handler.branch),
    (rf"/api/models/{OWNED}/tag/(.+)", Handler.tag),
    (rf"/{OWNED}\.git/info/lfs/objects/batch", Handler.batch),
    (rf"/{OWNED}/resolve/([^/]+)/(.+)", Handler.resolve),
]


@contextmanager
def running_hub(patch: pytest.MonkeyPatch, cache: Any) -> Iterator[Hub]:
    """A hub that the client in this process speaks to, with a cache of its own."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfThisHub", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "ENDPOINT": hub.address,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
    }.items():
        patch.setattr(constants, name, value)
    for name in ("HF_TOKEN", "SKIPWAY_OFFLINE", "HF_HUB_OFFLINE"):
        patch.delenv(name, raising=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
