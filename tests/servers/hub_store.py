"""The storage of the test Hub: accounts, repositories, commits and blobs, in files below one root.

store = Store(Path("hub")); store.create("tester/demo", private=True); store.history("tester/demo")
"""

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LFS_SUFFIXES = (".safetensors", ".gguf", ".bin", ".model")
Tree = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Account:
    """The holder of a token; `scopes` (entity name -> permissions) only for role fineGrained."""

    name: str
    role: str = "write"
    orgs: tuple[str, ...] = ()
    scopes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def may_write(self, repo_id: str) -> bool:
        owner = repo_id.split("/")[0]
        if self.role == "fineGrained":
            granted = self.scopes.get(owner, ()) + self.scopes.get(repo_id, ())
            return "repo.write" in granted
        return self.role == "write" and owner in (self.name, *self.orgs)


class HubError(Exception):
    """A refusal: HTTP status and the code that the client maps to its own errors."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.status, self.code = status, code


class Store:
    """Repositories with branches of commits; blobs by sha256 in files. State survives a restart."""

    def __init__(self, root: Path) -> None:
        self.objects, self.state = root / "objects", root / "repos.json"
        self.objects.mkdir(parents=True, exist_ok=True)
        self.repos: dict[str, dict[str, Any]] = {}
        if self.state.exists():
            self.repos = json.loads(self.state.read_text())

    def put(self, data: bytes, *, lfs: bool = False) -> dict[str, Any]:
        """Store a blob; returns its entry in a tree."""
        sha256 = hashlib.sha256(data).hexdigest()
        (self.objects / sha256).write_bytes(data)
        return self.entry(sha256, lfs=lfs)

    def entry(self, sha256: str, *, lfs: bool) -> dict[str, Any]:
        path = self.objects / sha256
        if not path.exists():
            raise HubError(400, "BadRequest", f"LFS object {sha256} was never uploaded")
        size = path.stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
        blob = pointer.encode() if lfs else path.read_bytes()
        oid = hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()
        return {"size": size, "oid": oid, "sha256": sha256, "lfs": lfs}

    def create(self, repo_id: str, *, private: bool) -> None:
        self.repos[repo_id] = {"private": private, "refs": {}, "commits": {}}
        attributes = "".join(f"*{suffix} filter=lfs -text\n" for suffix in LFS_SUFFIXES)
        tree = {".gitattributes": self.put(attributes.encode())}
        self.commit(repo_id, "main", tree, title="initial commit")

    def commit(self, repo_id: str, branch: str, tree: Tree, *, title: str) -> str:
        repo = self.repos[repo_id]
        parent = repo["refs"].get(branch)
        sha = hashlib.sha1(f"{parent}{title}{time.time_ns()}{tree}".encode()).hexdigest()
        date = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        repo["commits"][sha] = {"tree": tree, "title": title, "parent": parent, "date": date}
        repo["refs"][branch] = sha
        self.save()
        return sha

    def save(self) -> None:
        self.state.write_text(json.dumps(self.repos))

    def repo(self, repo_id: str, account: Account | None) -> dict[str, Any]:
        repo = self.repos.get(repo_id)
        if repo is None or (repo["private"] and account is None):
            raise HubError(404 if account else 401, "RepoNotFound", f"no repository {repo_id}")
        return repo

    def at(self, repo: dict[str, Any], revision: str) -> tuple[str, Tree]:
        """(commit sha, tree) of a branch or commit."""
        sha = repo["refs"].get(revision, revision)
        if sha not in repo["commits"]:
            raise HubError(404, "RevisionNotFound", f"no revision {revision}")
        return sha, repo["commits"][sha]["tree"]

    def history(self, repo_id: str, branch: str = "main") -> list[dict[str, Any]]:
        """Commits of a branch, newest first, each with its sha as `id`."""
        repo = self.repos[repo_id]
        commits, sha = [], repo["refs"].get(branch, branch)
        while sha:
            commits.append({"id": sha, **repo["commits"][sha]})
            sha = repo["commits"][sha]["parent"]
        return commits
