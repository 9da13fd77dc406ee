"""The endpoints of our test Hub: one function each, from a Request to a Reply.

route(hub, Request("GET", "/api/whoami-v2", {}, b"", account)) -> Reply({"name": "tester", ...})
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import yaml

from tests.servers.hub_store import LFS_SUFFIXES, Account, HubError, Store

LFS_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True)
class Hub:
    """The context of the endpoints: storage, own address, rows per page of a listing."""

    store: Store
    endpoint: str
    page_size: int


@dataclass(frozen=True)
class Request:
    """One parsed request; `account` is None for an unknown token."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: bytes
    account: Account | None

    def json(self) -> dict[str, Any]:
        return json.loads(self.body or b"{}")

    def writer(self, repo_id: str) -> Account:
        """The account, if it may write to `repo_id`; 401 or 403 otherwise."""
        if self.account is None:
            raise HubError(401, "Unauthorized", "Invalid username or password.")
        if not self.account.may_write(repo_id.removeprefix("datasets/")):
            raise HubError(403, "Forbidden", f"you have no write access to {repo_id}")
        return self.account


@dataclass(frozen=True)
class Reply:
    body: Any = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def _whoami(hub: Hub, request: Request) -> Reply:
    account = request.account
    if account is None:
        raise HubError(401, "Unauthorized", "Invalid username or password.")
    token: dict[str, Any] = {"displayName": "t", "role": account.role}
    if account.role == "fineGrained":
        scoped = [
            {"entity": {"type": "user", "name": name}, "permissions": list(permissions)}
            for name, permissions in account.scopes.items()
        ]
        token["fineGrained"] = {"global": [], "scoped": scoped}
    orgs = [{"type": "org", "name": name, "roleInOrg": "write"} for name in account.orgs]
    auth = {"type": "access_token", "accessToken": token}
    return Reply({"type": "user", "name": account.name, "orgs": orgs, "auth": auth})


def _validate_yaml(hub: Hub, request: Request) -> Reply:
    parts = request.json()["content"].split("---\n")
    try:
        meta = yaml.safe_load(parts[1]) if len(parts) > 2 else None
    except yaml.YAMLError as error:
        return Reply({"errors": [{"message": str(error)}], "warnings": []}, 400)
    warnings = [] if isinstance(meta, dict) else [{"message": "empty or missing yaml metadata"}]
    return Reply({"errors": [], "warnings": warnings})


def _create_repo(hub: Hub, request: Request) -> Reply:
    wanted = request.json()
    owner = wanted.get("organization") or (request.account.name if request.account else "")
    folder = "datasets/" if wanted.get("type") == "dataset" else ""
    repo_id = f"{folder}{owner}/{wanted['name']}"
    request.writer(repo_id)
    reply = {"url": f"{hub.endpoint}/{repo_id}", "name": repo_id, "id": repo_id}
    if repo_id in hub.store.repos:
        return Reply({"error": "You already created this model repo", **reply}, 409)
    hub.store.create(repo_id, private=wanted.get("visibility") == "private")
    return Reply(reply)


def _auth_check(hub: Hub, request: Request, repo_id: str, write: str) -> Reply:
    hub.store.repo(repo_id, request.account)
    if write:
        request.writer(repo_id)
    return Reply()


def _repo_info(hub: Hub, request: Request, repo_id: str, revision: str) -> Reply:
    repo = hub.store.repo(repo_id, request.account)
    sha, tree = hub.store.at(repo, revision or "main")
    siblings = [{"rfilename": path} for path in sorted(tree)]
    return Reply({"id": repo_id, "sha": sha, "private": repo["private"], "siblings": siblings})


def _tree(hub: Hub, request: Request, repo_id: str, revision: str) -> Reply:
    """Every file (the client always lists recursively), `page_size` at a time."""
    _, tree = hub.store.at(hub.store.repo(repo_id, request.account), revision)
    start = int(request.query.get("cursor", ["0"])[0])
    stop = start + hub.page_size
    rows: list[dict[str, Any]] = []
    for path, blob in sorted(tree.items())[start:stop]:
        row = {"type": "file", "path": path, "size": blob["size"], "oid": blob["oid"]}
        if blob["lfs"]:
            row["lfs"] = {"oid": blob["sha256"], "size": blob["size"], "pointerSize": 134}
        rows.append(row)
    link = f'<{hub.endpoint}{request.path}?recursive=true&cursor={stop}>; rel="next"'
    return Reply(rows, headers={"Link": link} if stop < len(tree) else {})


def _commits(hub: Hub, request: Request, repo_id: str, revision: str) -> Reply:
    hub.store.repo(repo_id, request.account)
    rows = hub.store.history(repo_id, revision)
    keys = ("id", "title", "date")
    return Reply([{**{k: c[k] for k in keys}, "message": "", "authors": []} for c in rows])


def _branch(hub: Hub, request: Request, repo_id: str, branch: str) -> Reply:
    request.writer(repo_id)
    repo = hub.store.repo(repo_id, request.account)
    if request.method == "DELETE":
        if repo["refs"].pop(branch, None) is None:
            raise HubError(404, "RevisionNotFound", f"no branch {branch}")
    elif branch in repo["refs"]:
        raise HubError(409, "Conflict", "Reference already exists")
    else:
        repo["refs"][branch], _ = hub.store.at(repo, request.json().get("startingPoint", "main"))
    hub.store.save()
    return Reply()


def _preupload(hub: Hub, request: Request, repo_id: str, revision: str) -> Reply:
    request.writer(repo_id)
    _, tree = hub.store.at(hub.store.repo(repo_id, request.account), revision)
    files = []
    for file in request.json()["files"]:
        lfs = file["size"] >= LFS_BYTES or file["path"].endswith(LFS_SUFFIXES)
        old = tree.get(file["path"])
        oid = old and (old["sha256"] if old["lfs"] else old["oid"])
        mode = "lfs" if lfs else "regular"
        files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return Reply({"files": files})


def _lfs_batch(hub: Hub, request: Request, repo_id: str) -> Reply:
    request.writer(repo_id)
    objects = []
    for wanted in request.json()["objects"]:
        row = {"oid": wanted["oid"], "size": wanted["size"]}
        if not (hub.store.objects / wanted["oid"]).exists():
            href = f"{hub.endpoint}/_lfs/{wanted['oid']}"
            row["actions"] = {"upload": {"href": href}, "verify": {"href": href}}
        objects.append(row)
    return Reply({"transfer": "basic", "objects": objects})


def _lfs_object(hub: Hub, request: Request, oid: str) -> Reply:
    if request.method == "PUT":
        if hashlib.sha256(request.body).hexdigest() != oid:
            raise HubError(400, "BadRequest", "sha256 mismatch")
        hub.store.put(request.body)
    return Reply(status=200 if (hub.store.objects / oid).exists() else 404)


def _commit(hub: Hub, request: Request, repo_id: str, branch: str) -> Reply:
    request.writer(repo_id)
    head, old = hub.store.at(hub.store.repo(repo_id, request.account), branch)
    tree, title = dict(old), ""
    for line in request.body.splitlines():
        operation = json.loads(line)
        key, value = operation["key"], operation["value"]
        if key == "header":
            title = value["summary"]
            if value.get("parentCommit", head) != head:
                raise HubError(412, "PreconditionFailed", "A commit has happened since.")
        elif key == "file":
            tree[value["path"]] = hub.store.put(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            tree[value["path"]] = hub.store.entry(value["oid"], lfs=True)
        elif key == "deletedFile":
            del tree[value["path"]]
        else:
            raise HubError(400, "BadRequest", f"unknown operation {key}")
    sha = hub.store.commit(repo_id, branch, tree, title=title)
    url = f"{hub.endpoint}/{repo_id}/commit/{sha}"
    return Reply({"success": True, "commitOid": sha, "commitUrl": url})


def _resolve(hub: Hub, request: Request, repo_id: str, revision: str, path: str) -> Reply:
    sha, tree = hub.store.at(hub.store.repo(repo_id, request.account), revision)
    if path not in tree:
        raise HubError(404, "EntryNotFound", f"no file {path}")
    blob = tree[path]
    etag = blob["sha256"] if blob["lfs"] else blob["oid"]
    data = (hub.store.objects / blob["sha256"]).read_bytes()
    return Reply(data, headers={"ETag": f'"{etag}"', "X-Repo-Commit": sha})


# A dataset's repository is stored under datasets/owner/name, as in its URL.
NAME = r"((?:datasets/)?[^/]+/[^/]+)"
API = rf"/api/(?:models/)?{NAME}"
ROUTES: list[tuple[str, Callable[..., Reply]]] = [
    (r"GET /api/whoami-v2", _whoami),
    (r"POST /api/validate-yaml", _validate_yaml),
    (r"POST /api/repos/create", _create_repo),
    (rf"GET {API}/auth-check(/write)?", _auth_check),
    (rf"GET {API}(?:/revision/([^/]+))?", _repo_info),
    (rf"GET {API}/tree/([^/]+)", _tree),
    (rf"GET {API}/commits/([^/]+)", _commits),
    (rf"(?:POST|DELETE) {API}/branch/([^/]+)", _branch),
    (rf"POST {API}/preupload/([^/]+)", _preupload),
    (rf"POST {API}/commit/([^/]+)", _commit),
    (rf"POST /{NAME}\.git/info/lfs/objects/batch", _lfs_batch),
    (r"(?:PUT|POST) /_lfs/([0-9a-f]{64})", _lfs_object),
    (rf"GET /{NAME}/resolve/([^/]+)/(.+)", _resolve),
]


def route(hub: Hub, request: Request) -> Reply:
    """The reply of the endpoint that the request names; a HubError becomes its status."""
    method = "GET" if request.method == "HEAD" else request.method
    try:
        for pattern, endpoint in ROUTES:
            if found := re.fullmatch(pattern, f"{method} {request.path}"):
                return endpoint(hub, request, *(unquote(part) for part in found.groups("")))
        raise HubError(404, "NotImplemented", f"{request.method} {request.path}")
    except HubError as error:
        headers = {"X-Error-Code": error.code, "X-Error-Message": str(error)}
        return Reply({"error": str(error)}, error.status, headers)
