"""Private modules of Ray are used with the tested series only; each has a public fallback.

tests/trainers/test_loop.py trains on Ray Train by both paths.
"""

import pytest
import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from trainers.supervision import ray_internals
from trainers.supervision.ray_internals import draining_nodes, free_per_node, make_trainer, usable
from trainers.supervision.resources import free_resources, total_resources


@pytest.fixture
def untested_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_internals, "TESTED_SERIES", "2.99.")


def trainer() -> TorchTrainer:
    return make_trainer(
        train_loop_per_worker=print,
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(name="x"),
    )


def test_the_pinned_ray_is_the_tested_series(ray_local: None) -> None:
    assert usable()
    assert type(trainer()).__name__ == "RayTrainer"
    [node] = ray.nodes()
    assert free_per_node([node["NodeID"]])[0]["CPU"] <= 2
    assert free_per_node(["ffff"]) == [{}], "a node that has left has no free resources"


def test_another_ray_is_used_by_its_public_api_and_reported_once(
    untested_ray: None, ray_local: None, capsys: pytest.CaptureFixture[str]
) -> None:
    ray_internals._is_series.cache_clear()
    assert type(trainer()) is TorchTrainer
    assert not usable() and draining_nodes() == set()
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"note: Ray {ray.__version__}: tested with 2.99.x; using Ray's public")


def test_on_one_node_both_paths_report_the_same_resources(
    ray_local: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cpus() -> tuple[list[float], list[float]]:
        return [n["CPU"] for n in total_resources()], [n["CPU"] for n in free_resources()]

    private = cpus()
    monkeypatch.setattr(ray_internals, "TESTED_SERIES", "2.99.")
    assert cpus() == private == ([2.0], [2.0])
