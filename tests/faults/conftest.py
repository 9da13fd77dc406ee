"""One undisturbed run for all faults, and the table that `make faults` ends with."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.harness import Held, Runs

TABLE: list[tuple[str, str, str, float]] = []


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, pocket: Path) -> Runs:
    """Runs on a local Ray, one of them to its end without a fault."""
    created = Runs.create(tmp_path_factory.mktemp("faults"))
    created.finish("undisturbed")
    return created


@pytest.fixture(scope="session")
def float32(runs: Runs) -> str:
    """The name of an undisturbed run in float32, for those that change the number of workers.

    Another number cuts the steps otherwise, and in bfloat16 another cut is another rounding: it is
    the loss of a single row by which such runs are compared.
    """
    runs.finish("undisturbed-float32", "dtype=float32")
    return "undisturbed-float32"


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Iterator[Callable[[Held], None]]:
    """Takes what a fault cost; its row in the table is named by the test."""
    started = time.monotonic()
    cost: list[Held] = []
    yield cost.append
    row = request.node.name.removeprefix("test_").replace("_", " ")
    redone = str(cost[0].redone) if cost else "-"
    TABLE.append((row, "held" if cost else "BROKEN", redone, time.monotonic() - started))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder: `make test` takes of them only its slice."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("fault")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table: fault, held or not, steps redone, seconds."""
    if TABLE:
        terminalreporter.write_line(f"\n{'fault':<64} {'':>6} {'redone':>6} {'seconds':>7}")
    for fault, state, redone, seconds in TABLE:
        terminalreporter.write_line(f"{fault:<64} {state:>6} {redone:>6} {seconds:>7.1f}")
