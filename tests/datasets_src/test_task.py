"""Finding tasks and validating their options."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from datasets_src.errors import UserError
from datasets_src.task import (
    EVAL_LOSS,
    BatchScorer,
    Sliced,
    Task,
    checked_metric,
    known_tasks,
    load_task,
    reference_row,
    task_options,
)
from datasets_src.tasks import (
    descriptions,
    doi,
    instructions,
    law_qa,
    query_json,
    questions,
    text2sql,
)

# `make lint` has mypy check each module's signatures against the protocols.
SHIPPED: dict[str, Task] = {
    "descriptions": descriptions,
    "doi": doi,
    "instructions": instructions,
    "law_qa": law_qa,
    "query_json": query_json,
    "questions": questions,
    "text2sql": text2sql,
}
BATCH_SCORERS: list[BatchScorer] = [text2sql]
SLICED: list[Sliced] = [descriptions, doi, law_qa, query_json, questions]


def test_tasks_are_found_by_name_or_dotted_path() -> None:
    assert "text2sql" in known_tasks()
    assert load_task("text2sql").METRIC == "execution_accuracy"
    assert load_task("tests.benchmarks.step.description_rows").METRICS == ("exact_match",)


@pytest.mark.parametrize("name", ["text2sq", "no.such.module"])
def test_unknown_task_names_the_known(name: str) -> None:
    with pytest.raises(UserError, match=rf"data.task: unknown task '{name}'; .*known: .*text2sql"):
        load_task(name)
    with pytest.raises(UserError, match=r"unknown task 'pathlib.PurePath'"):
        load_task("pathlib.PurePath")


def test_a_module_without_the_contract_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"'datasets_src.split' lacks FIELDS, METRIC.*, why; a task"
    ):
        load_task("datasets_src.split")
    with pytest.raises(UserError, match=r"^--task: unknown task 'nothing'"):
        load_task("nothing", key="--task")


def test_an_unknown_metric_names_the_known() -> None:
    task = load_task("text2sql")
    assert checked_metric(task, None, key="--metric") == "execution_accuracy"
    assert checked_metric(task, "valid_sql", key="--metric") == "valid_sql"
    message = r"^--metric: unknown metric 'acuracy'; .*known: execution_accuracy, ordered_match"
    with pytest.raises(UserError, match=message):
        checked_metric(task, "acuracy", key="--metric")
    assert checked_metric(task, EVAL_LOSS, key="metric", also=(EVAL_LOSS,)) == EVAL_LOSS
    with pytest.raises(UserError, match="did you mean eval_loss"):
        checked_metric(task, "evalloss", key="metric", also=(EVAL_LOSS,))
    with pytest.raises(UserError, match="unknown metric 'eval_loss'"):
        checked_metric(task, EVAL_LOSS, key="--metric")


def test_a_row_we_do_not_hold_is_put_under_the_fields() -> None:
    """The prompt under the first, the reference under the last; what it names itself, as named."""
    task = load_task("tests.benchmarks.step.description_rows")
    row = {"prompt": "Añade la clase", "reference": "Una salamandra", "context": "[]", "model": "x"}
    assert reference_row(task, row) == {
        "prompt": "Añade la clase",
        "description": "",
        "science": "",
        "context": "[]",
        "target": "Una salamandra",
    }
    own = cast(Any, SimpleNamespace(from_reference=lambda row: {"sql": row["reference"] + ";"}))
    assert reference_row(own, row) == {"sql": "Una salamandra;"}


def test_mypy_checks_every_shipped_task() -> None:
    assert sorted(SHIPPED) == known_tasks()
    assert all(load_task(name) is module for name, module in SHIPPED.items())
    scorers = [module for module in SHIPPED.values() if isinstance(module, BatchScorer)]
    assert scorers == BATCH_SCORERS
    assert [module for module in SHIPPED.values() if isinstance(module, Sliced)] == SLICED


def test_every_fault_of_the_options_is_told() -> None:
    task = load_task("text2sql")
    given = {"dialekt": "sqlite", "dialect": "oracle", "max_bound_values": 0}
    with pytest.raises(UserError) as caught:
        task_options(task, given)
    reported = "\n".join(sorted(caught.value.faults))
    assert len(caught.value.faults) == 3
    assert "data.task_options.dialekt: unknown option; did you mean dialect?" in reported
    assert "data.task_options.max_bound_values: 0 should be greater than or equal to 1" in reported
    assert "data.task_options.dialect: 'oracle' should be 'sqlite', 'tsql'" in reported
