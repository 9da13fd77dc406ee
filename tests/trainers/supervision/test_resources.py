"""How many workers fit, from what nodes have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.config.scaling_section import ScalingConfig
from trainers.supervision.resources import cpus_per_worker, num_fitting_workers

TWO = ScalingConfig(num_workers=2)


def cpu_nodes(*cpus: float) -> list[dict[str, float]]:
    return [{"CPU": n, "memory": 1e9} for n in cpus]


@pytest.mark.parametrize(
    ("nodes", "cpus"),
    [
        ([8], 4),
        ([9], 4),
        ([4, 4], 4),
        ([6, 2], 3),  # an even share of 4 does not fit: both are placed on the first node
        ([5, 3], 3),
        ([0, 4, 4], 4),  # a head without CPUs
        ([1], 1),  # too small; the driver says so and waits
        ([], 1),
    ],
)
def test_cores_are_shared_out_as_far_as_a_worker_lies_on_one_node(
    nodes: list[float], cpus: int
) -> None:
    assert cpus_per_worker(TWO, cpu_nodes(*nodes)) == cpus


def test_cores_as_configured() -> None:
    assert cpus_per_worker(ScalingConfig(num_workers=2, cpus_per_worker=3), cpu_nodes(64)) == 3
    elastic = ScalingConfig.model_validate(
        {"num_workers": {"min": 1, "max": 4}, "cpus_per_worker": 2}
    )
    assert cpus_per_worker(elastic, []) == 2


def test_a_worker_lies_on_one_node() -> None:
    assert num_fitting_workers(TWO, cpu_nodes(3, 3), 2) == 2
    assert num_fitting_workers(TWO, cpu_nodes(1, 1, 1, 1), 2) == 0
    assert num_fitting_workers(TWO, cpu_nodes(7.5, 0.5), 2) == 3
    assert num_fitting_workers(TWO, [{}, {"memory": 1e9}], 1) == 0, (
        "nothing is free, or no CPUs at all"
    )


def test_a_GPU_for_each_worker() -> None:
    gpus = ScalingConfig(num_workers=2, use_gpu=True)
    nodes: list[dict[str, float]] = [{"CPU": 16, "GPU": 1}, {"CPU": 3, "GPU": 4}, {"CPU": 64}]
    assert num_fitting_workers(gpus, nodes, 2) == 1 + 1
    assert num_fitting_workers(gpus, nodes, 1) == 1 + 3
    assert cpus_per_worker(gpus, [{"CPU": 16, "GPU": 1}, {"CPU": 3, "GPU": 4}]) == 3
    assert cpus_per_worker(gpus, [{"CPU": 16, "GPU": 1}]) == 1, "one GPU is too few for two"


@given(
    st.lists(st.integers(0, 64), max_size=6),
    st.integers(1, 8),
)
def test_the_share_fits_and_one_core_more_does_not(cpus: list[int], num_workers: int) -> None:
    scaling, nodes = ScalingConfig(num_workers=num_workers), cpu_nodes(*cpus)
    share = cpus_per_worker(scaling, nodes)
    assert share >= 1
    assert num_fitting_workers(scaling, nodes, share) >= num_workers or sum(cpus) < num_workers
    assert num_fitting_workers(scaling, nodes, share + 1) < num_workers
