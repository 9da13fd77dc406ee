"""The Hugging Face Hub client: token, permissions, retries.

check_hub(config.hub)            # before training: a UserError in one line
hub_client(config.hub).whoami()
"""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal, TypeVar

from httpx2 import HTTPError, InvalidURL, NetworkError, RemoteProtocolError, TimeoutException
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import parse_ratelimit_headers, validate_repo_id

from datasets_src.errors import UserError
from trainers.config.schema import HubConfig

Kind = Literal["adapter", "merged", "gguf", "checkpoint", "dataset"]
SUFFIXES: dict[Kind, str] = {
    **{"adapter": "", "checkpoint": "", "dataset": ""},
    **{"merged": "-merged", "gguf": "-GGUF"},
}
RETRIED_STATUS = (408, 429, 500, 502, 503, 504)
RETRIED_ERRORS = (TimeoutException, NetworkError, RemoteProtocolError)
SETTINGS_URL = "https://huggingface.co/settings/tokens"
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Retry:
    """`tries` in all with exponential backoff from `first_wait_s`. If the server asks for more than
    `max_wait_s` (rate limits are per hour), the push is given up: the outbox keeps the item."""

    tries: int = 5
    first_wait_s: float = 1.0
    max_wait_s: float = 300.0


def repo_id_for(hub: HubConfig, kind: Kind) -> str:
    """owner/name of the adapter (and checkpoints), owner/name-merged, owner/name-GGUF."""
    assert hub.hub_model_id is not None, "HubConfig requires it if push is on"
    return hub.hub_model_id + SUFFIXES[kind]


def repo_type_of(kind: Kind) -> str:
    """The Hub's type of repository; a model and a dataset may have the same name."""
    return "dataset" if kind == "dataset" else "model"


def read_token(hub: HubConfig) -> str:
    """The token from hub_token_path, else from the file HF_TOKEN_PATH, else HF_TOKEN or a login.

    Raises:
        UserError: there is no token, or its file is unreadable or does not hold exactly one word.
    """
    path = hub.hub_token_path or os.environ.get("HF_TOKEN_PATH")
    if path is None:
        token = os.environ.get("HF_TOKEN", "").strip() or get_token()
        if not token:
            raise UserError(
                "hub.hub_token_path: no Hub token is set and push is on; set"
                " hub_token_path=FILE (or HF_TOKEN_PATH, HF_TOKEN), or push=none"
            )
        return token
    name = "hub.hub_token_path" if hub.hub_token_path else "HF_TOKEN_PATH"
    try:
        token = Path(path).expanduser().read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UserError(f"{name}: {path}: {reason}; write the token into that file") from None
    if len(token.split()) != 1:
        raise UserError(
            f"{name}: {path}: holds {len(token.split())} words; write one token into it"
        )
    return token


def hub_client(hub: HubConfig) -> HfApi:
    """A client with the token, for the current HF_ENDPOINT (not the one at import).

    Raises:
        UserError: no token, see `read_token`.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    return HfApi(endpoint=endpoint, token=read_token(hub))


def status_of(error: Exception) -> int | None:
    """HTTP status of an error; None without a response."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def retrying(action: Callable[[], Answer], *, retry: Retry) -> Answer:
    """The value of `action()`, retried on 408, 429, 5xx and lost connections.

    `action` must be idempotent: a lost response may hide a request that was carried out.
    """
    for attempt in range(1, retry.tries + 1):
        try:
            return action()
        except HTTPError as error:
            if not isinstance(error, RETRIED_ERRORS) and status_of(error) not in RETRIED_STATUS:
                raise
            wait_s = max(retry.first_wait_s * 2 ** (attempt - 1), requested_wait_s(error))
            if attempt == retry.tries or wait_s > retry.max_wait_s:
                raise
            time.sleep(wait_s)
    raise AssertionError("Retry.tries is at least 1")


def requested_wait_s(error: Exception) -> float:
    """Seconds that the server asks to wait (Retry-After, or an exhausted RateLimit); else 0."""
    if not isinstance(error, HfHubHTTPError):
        return 0.0
    headers = error.response.headers
    after = headers.get("Retry-After", "").strip()
    if after.isdigit():
        return float(after)
    if after:
        return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    limit = parse_ratelimit_headers(headers)
    return float(limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else 0.0


def check_hub(
    hub: HubConfig, *, kinds: Iterable[Kind] = ("adapter",), retry: Retry | None = None
) -> None:
    """Detect now what would fail after hours of training; creates the repositories of `kinds`.

    Raises:
        UserError: the token is missing, invalid, read-only or lacks access to the owner; the owner
            does not exist; a repository cannot be created or written; the Hub is unreachable.
    """
    if hub.push == "none":
        return
    api, retry = hub_client(hub), retry or Retry(tries=3)
    try:
        who = retrying(api.whoami, retry=retry)
        repos = sorted({(repo_id_for(hub, kind), repo_type_of(kind)) for kind in kinds})
        _check_rights(who, [repo_id for repo_id, _ in repos])
        for repo_id, repo_type in repos:
            _check_repo(api, repo_id, repo_type, hub=hub, retry=retry)
    except (HTTPError, InvalidURL, OfflineModeIsEnabled, HFValidationError) as error:
        raise UserError(explain(error, api.endpoint)) from None


def _check_repo(api: HfApi, repo_id: str, repo_type: str, *, hub: HubConfig, retry: Retry) -> None:
    validate_repo_id(repo_id)
    private = hub.hub_private_repo
    try:
        retrying(
            lambda: api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True),
            retry=retry,
        )
        retrying(lambda: api.auth_check(repo_id, repo_type=repo_type, write=True), retry=retry)
    except HfHubHTTPError as error:
        if status_of(error) not in (401, 402, 403, 404):
            raise
        raise UserError(
            f"hub.hub_model_id: {repo_id} cannot be created or written with this token"
            f" ({_message_of(error)}); name a repository you may write to, or grant the token"
            " access to it"
        ) from None


def _check_rights(who: dict, repo_ids: list[str]) -> None:
    """whoami-v2: {name, orgs: [{name, roleInOrg}], auth: {accessToken: {role, fineGrained}}}."""
    owner = repo_ids[0].split("/")[0]
    token = who.get("auth", {}).get("accessToken", {})
    if token.get("role") == "read":
        raise UserError(
            "hub.hub_token_path: the token is read-only; create one with the role `write`"
            f" at {SETTINGS_URL}"
        )
    owners = [who["name"], *(org["name"] for org in who.get("orgs", []))]
    if owner.lower() not in (name.lower() for name in owners):
        name = repo_ids[0].split("/")[1]
        raise UserError(
            f"hub.hub_model_id: owner {owner!r} is neither the token's user nor one of its"
            f" organisations ({', '.join(owners)}); set hub_model_id={owners[0]}/{name}"
        )
    if token.get("role") == "fineGrained":
        _check_scopes(token.get("fineGrained", {}), owner=owner, repo_ids=repo_ids)


def _check_scopes(granted: dict, *, owner: str, repo_ids: list[str]) -> None:
    writable = {
        scope["entity"].get("name", "").lower()
        for scope in granted.get("scoped", [])
        if "repo.write" in scope["permissions"]
    }
    missing = [name for name in repo_ids if not {owner.lower(), name.lower()} & writable]
    if missing and "repo.write" not in granted.get("global", []):
        raise UserError(
            f"hub.hub_token_path: the fine-grained token has no `repo.write` for {missing[0]};"
            f" grant it write access to the repositories of {owner} at {SETTINGS_URL}"
        )


def explain(error: Exception, endpoint: str) -> str:
    """One line for an error of the client: the failure and the remedy. Never contains the token."""
    status = status_of(error)
    if status == 401:
        return (
            f"hub.hub_token_path: {endpoint} rejects this token (401: expired or mistyped);"
            f" create a new one at {SETTINGS_URL}"
        )
    if status == 403:
        return f"hub.hub_token_path: {_message_of(error)} (403); use a token with write access"
    if status == 429:
        wait_s = requested_wait_s(error)
        return f"{endpoint}: too many requests (429); wait {wait_s:.0f} s; {_message_of(error)}"
    if status is None and isinstance(error, HTTPError | InvalidURL):
        return (
            f"HF_ENDPOINT: {endpoint} cannot be reached ({error or type(error).__name__}); check"
            " the address and the network, or set push=none and publish later with jobs.publish"
        )
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE: set, so nothing can be pushed; unset it, or set push=none"
    return _message_of(error)


def _message_of(error: Exception) -> str:
    """The server's message if there is one, else the exception's, on one line."""
    message = getattr(error, "server_message", None) or str(error) or type(error).__name__
    return " ".join(str(message).split())
