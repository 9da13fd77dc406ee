"""Fixtures every test may ask for: one Ray for the whole session."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The defaults fail a property on a slow machine: 200 ms an example, and a limit on drawing them.
settings.register_profile("any_speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_speed")
# Ray starts its workers with nice 15: next to other busy processes they would hardly run.
os.environ.setdefault("RAY_worker_niceness", "0")


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """A local Ray of two CPUs, started once."""
    import ray

    from jobs.common.ray_session import start_local_ray

    start_local_ray(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def pocket() -> Path:
    """The base model we ship, built once per machine."""
    from trainers.models.pocket.model import pocket_dir

    return pocket_dir()


@pytest.fixture(scope="session")
def small_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of a run that ends in seconds (tests/trainers/small_run.py)."""
    from tests.trainers.small_run import write_rows

    return write_rows(tmp_path_factory.mktemp("small"))
