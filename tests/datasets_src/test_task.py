"""Finding tasks and validating their options."""

import pytest

from datasets_src.errors import UserError
from datasets_src.task import known_tasks, load_task, task_options


def test_tasks_are_found_by_name_or_dotted_path() -> None:
    assert "text2sql" in known_tasks()
    assert load_task("text2sql").METRIC == "execution_accuracy"
    assert load_task("tests.benchmarks.description_rows").METRICS == ("exact_match",)


@pytest.mark.parametrize("name", ["text2sq", "no.such.module"])
def test_unknown_task_names_the_known(name: str) -> None:
    with pytest.raises(UserError, match=rf"data.task: '{name}' is no task; .*known: .*text2sql"):
        load_task(name)
    with pytest.raises(UserError, match=r"'pathlib.PurePath' is no task"):
        load_task("pathlib.PurePath")


def test_a_module_without_the_contract_is_refused() -> None:
    with pytest.raises(UserError, match=r"'datasets_src.split' lacks FIELDS, METRIC"):
        load_task("datasets_src.split")


def test_every_fault_of_the_options_is_told() -> None:
    task = load_task("text2sql")
    given = {"dialekt": "sqlite", "dialect": "oracle", "max_bound_values": 0}
    with pytest.raises(UserError) as caught:
        task_options(task, given)
    told = "\n".join(sorted(caught.value.faults))
    assert len(caught.value.faults) == 3
    assert "data.task_options.dialekt: unknown option; did you mean dialect?" in told
    assert "data.task_options.max_bound_values: 0 should be greater than or equal to 1" in told
    assert "data.task_options.dialect: 'oracle' should be 'sqlite', 'tsql'" in told
