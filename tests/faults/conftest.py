"""One undisturbed run for all faults, and the table that `make faults` prints at the end."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.harness import Cost, Runs

TABLE: list[tuple[str, str, str, float]] = []


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, pocket: Path) -> Runs:
    """Runs on a local Ray, with one undisturbed run."""
    created = Runs.create(tmp_path_factory.mktemp("faults"))
    created.finish("undisturbed")
    return created


@pytest.fixture(scope="session")
def float32(runs: Runs) -> str:
    """The name of an undisturbed run in float32, for runs that change the number of workers.

    Another number of workers partitions the steps differently, which rounds differently in
    bfloat16, and such runs are compared by the loss of a single row.
    """
    runs.finish("undisturbed-float32", "dtype=float32")
    return "undisturbed-float32"


@pytest.fixture
def record_cost(request: pytest.FixtureRequest) -> Iterator[Callable[[Cost], None]]:
    """Record the cost of a fault in the table, in a row named after the test."""
    started = time.monotonic()
    cost: list[Cost] = []
    yield cost.append
    row = request.node.name.removeprefix("test_").replace("_", " ")
    redone = str(cost[0].redone) if cost else "-"
    TABLE.append((row, "held" if cost else "BROKEN", redone, time.monotonic() - started))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder: `make test` runs only those marked `slice`."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("fault")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table: fault, held or not, steps redone, seconds."""
    if TABLE:
        terminalreporter.write_line(f"\n{'fault':<64} {'':>6} {'redone':>6} {'seconds':>7}")
    for fault, state, redone, seconds in TABLE:
        terminalreporter.write_line(f"{fault:<64} {state:>6} {redone:>6} {seconds:>7.1f}")
