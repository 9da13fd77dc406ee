"""A tiny base for the tests of the methods, and one torch thread for each of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trainers.export.tiny_export import alone, build_base


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only."""
    return build_base(tmp_path_factory.mktemp("methods") / "base")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with alone():
        yield
