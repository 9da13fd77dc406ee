"""One folder onto one branch of a Hub repository: one commit, verified, or nothing at all.

    push_folder(api, Path("out"), files, repo_id="me/demo", branch="main", message="Adapter", ...)

`main` gets there in two steps (a staging branch is filled and verified, then the same operations
are committed to main, whose bytes the Hub already has), so that a reader never sees a file that was
not verified. The client does not retry the commit itself and a lost response may hide a made one:
so the tree is compared before every try, and `parent_commit` refuses to push over somebody else.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import RepoFile

from trainers.hub.client import Retry, retrying, status_of

# Weights (and rows) of an earlier push that the new one does not have are deleted with it: another
# number of shards, or another model's adapter, must not stay next to the new card.
WEIGHTS = (".safetensors", ".gguf", ".bin", ".parquet")


class PushError(Exception):
    """A push that must not be tried again as it is: the message says why."""


@dataclass(frozen=True)
class FileRecord:
    """A file of a push: `git_oid` is its blob id where the Hub keeps it outside LFS."""

    path: str
    size: int
    sha256: str
    git_oid: str


@dataclass(frozen=True)
class Target:
    """Where a push goes, and the branch that is filled first."""

    repo_id: str
    branch: str
    staging: str
    private: bool
    message: str
    repo_type: str = "model"


@dataclass(frozen=True)
class Head:
    """Newest commit of a branch and, for each path, the sha256 (LFS) or git blob id."""

    commit: str
    oids: dict[str, str]

    def holds(self, files: Sequence[FileRecord]) -> bool:
        """Whether every file is there with its content, without stale weights."""
        return not self.differing(files) and not self.stale(files)

    def differing(self, files: Sequence[FileRecord]) -> list[str]:
        return [
            file.path
            for file in files
            if self.oids.get(file.path) not in (file.sha256, file.git_oid)
        ]

    def stale(self, files: Sequence[FileRecord]) -> list[str]:
        kept = {file.path for file in files}
        return [path for path in self.oids if path.endswith(WEIGHTS) and path not in kept]


def push_folder(
    api: HfApi, folder: Path, files: Sequence[FileRecord], *, target: Target, retry: Retry
) -> tuple[str, bool]:
    """(commit of the branch that holds the files, whether one was made).

    Raises:
        PushError: a file changed since it was recorded, somebody else committed meanwhile, or the
            Hub holds something else than what was sent.
        HTTPError: the last of the tries.
    """
    retrying(
        lambda: api.create_repo(
            target.repo_id, repo_type=target.repo_type, private=target.private, exist_ok=True
        ),
        retry=retry,
    )
    if target.branch != "main":
        _branch_from_root(api, target, retry)
    head = _head(api, target, retry)
    made = not head.holds(files)
    commit = head.commit
    if made and target.branch == "main":
        _fill_staging(api, folder, files, target=target, head=head, retry=retry)
    if made:
        commit = _commit(api, folder, files, target=target, head=head, retry=retry)
    if target.branch == "main":
        _delete_branch(api, target, retry)
    return commit, made


def _head(api: HfApi, target: Target, retry: Retry) -> Head:
    return retrying(lambda: _read_head(api, target), retry=retry)


def _read_head(api: HfApi, target: Target) -> Head:
    """The tree is read at the commit, so the two belong together."""
    repo_id, repo_type = target.repo_id, target.repo_type
    commit = api.repo_info(repo_id, repo_type=repo_type, revision=target.branch).sha
    assert commit is not None, f"{repo_id} has no commit on {target.branch}"
    entries = api.list_repo_tree(repo_id, repo_type=repo_type, revision=commit, recursive=True)
    oids = {
        entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id
        for entry in entries
        if isinstance(entry, RepoFile)
    }
    return Head(commit, oids)


def _branch_from_root(api: HfApi, target: Target, retry: Retry) -> None:
    """Make the branch at the first commit: one made of main would show main's weights meanwhile."""
    commits = retrying(
        lambda: api.list_repo_commits(target.repo_id, repo_type=target.repo_type), retry=retry
    )
    _make_branch(api, target, target.branch, commits[-1].commit_id, retry=retry)


def _make_branch(api: HfApi, target: Target, branch: str, revision: str, *, retry: Retry) -> None:
    retrying(
        lambda: api.create_branch(
            target.repo_id,
            repo_type=target.repo_type,
            branch=branch,
            revision=revision,
            exist_ok=True,
        ),
        retry=retry,
    )


def _fill_staging(
    api: HfApi,
    folder: Path,
    files: Sequence[FileRecord],
    *,
    target: Target,
    head: Head,
    retry: Retry,
) -> None:
    """The files on a fresh staging branch of `head`, verified."""
    staging = replace(target, branch=target.staging, staging="")
    _delete_branch(api, target, retry)
    _make_branch(api, target, target.staging, head.commit, retry=retry)
    _commit(api, folder, files, target=staging, head=head, retry=retry)


def _delete_branch(api: HfApi, target: Target, retry: Retry) -> None:
    """Delete the staging branch; none is fine too (a lost response, or a killed push)."""
    repo_type, branch = target.repo_type, target.staging
    try:
        retrying(
            lambda: api.delete_branch(target.repo_id, repo_type=repo_type, branch=branch),
            retry=retry,
        )
    except HfHubHTTPError as error:
        if status_of(error) != 404:
            raise


def _commit(
    api: HfApi,
    folder: Path,
    files: Sequence[FileRecord],
    *,
    target: Target,
    head: Head,
    retry: Retry,
) -> str:
    """One commit on top of `head`, then the branch is read back and compared."""
    retrying(lambda: _commit_once(api, folder, files, target=target, head=head), retry=retry)
    after = _head(api, target, retry)
    if not after.holds(files):
        names = ", ".join([*after.differing(files), *after.stale(files)][:3])
        raise PushError(f"{target.repo_id} {target.branch} does not hold what was sent: {names}")
    return after.commit


def _commit_once(
    api: HfApi, folder: Path, files: Sequence[FileRecord], *, target: Target, head: Head
) -> None:
    now = _read_head(api, target)
    if now.holds(files):
        return
    try:
        with ExitStack() as stack:
            api.create_commit(
                target.repo_id,
                _operations(folder, files, head=head, stack=stack),
                commit_message=target.message,
                repo_type=target.repo_type,
                revision=target.branch,
                parent_commit=head.commit,
            )
    except HfHubHTTPError as error:
        if status_of(error) != 412:
            raise
        now = _read_head(api, target)
        if not now.holds(files):
            raise PushError(_second_writer(target, now.commit)) from None


def _operations(
    folder: Path, files: Sequence[FileRecord], *, head: Head, stack: ExitStack
) -> list[CommitOperationAdd | CommitOperationDelete]:
    """Additions from open files, deletions of stale weights.

    Open files are streamed, and are what the client never sends by Xet, a second protocol that a
    mirror of the Hub may not speak; HF_HUB_DISABLE_XET works only before the client's first import,
    which transformers may have done.

    Raises:
        PushError: a file is not what it was when it was recorded.
    """
    operations: list[CommitOperationAdd | CommitOperationDelete] = []
    for file in files:
        addition = CommitOperationAdd(
            file.path, stack.enter_context((folder / file.path).open("rb"))
        )
        if addition.upload_info.sha256.hex() != file.sha256:
            raise PushError(f"{folder / file.path} changed since it was put in the outbox")
        operations.append(addition)
    return [*operations, *(CommitOperationDelete(path) for path in head.stale(files))]


def _second_writer(target: Target, commit: str) -> str:
    return (
        f"somebody else committed {commit[:8]} to {target.repo_id} {target.branch} during the"
        " push; look at it, then run jobs.publish to push on top of it"
    )
