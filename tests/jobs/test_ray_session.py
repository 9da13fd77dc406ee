"""Joining a cluster that is not there."""

import pytest

from datasets_src.errors import UserError
from jobs import ray_session
from tests.ray_head import free_port


def test_a_head_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray_session, "HEAD_LIMIT_S", 0.2)
    monkeypatch.setattr(ray_session.ray, "is_initialized", lambda: False)
    with pytest.raises(UserError, match=rf"RAY_ADDRESS: {address} has not answered .*unset RAY_"):
        ray_session.start_ray()
