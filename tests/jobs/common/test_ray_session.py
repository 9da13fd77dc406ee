"""Joining a cluster that is not there; leaving nothing behind in one of our own."""

import pytest
import ray
import ray.data

from datasets_src.errors import UserError
from jobs.common import ray_session
from tests.servers.ray_head import free_port


def test_a_head_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray_session, "HEAD_LIMIT_S", 0.2)
    monkeypatch.setattr(ray_session.ray, "is_initialized", lambda: False)
    with pytest.raises(UserError, match=rf"RAY_ADDRESS: {address} has not answered .*unset RAY_"):
        ray_session.start_ray()


def test_what_ray_data_leaves_ends_and_comes_back(
    ray_local: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def left() -> set[tuple[str, str]]:
        named = ray.util.list_named_actors(all_namespaces=True)
        return {(each["name"], each["namespace"]) for each in named}

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for _ in range(2):
        assert ray.data.range(3).map_batches(lambda batch: batch).count() == 3
        assert left() >= set(ray_session.RAY_DATAS_OWN)
        ray_session.end_ray_data()
        assert not left() & set(ray_session.RAY_DATAS_OWN)
    ray_session.end_ray_data()
