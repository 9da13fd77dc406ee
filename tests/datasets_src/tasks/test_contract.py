"""The contract of every task, checked on the rows that ship for it; a config adds a new task.

The rows of a task are those of jobs/configs/<task>.yaml, or of a config that names the task and
rows within this repository (jobs/common/shipped.py).
"""

import json
import math
import time
from dataclasses import dataclass
from functools import lru_cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets_src.scoring.predictions import load_sides
from datasets_src.scoring.score import explain_replies, score_replies
from datasets_src.task import Sliced, Task, known_tasks, load_task
from datasets_src.types import Example
from jobs.common.shipped import ROOT, shipped_config
from trainers.config.load import load_config

MAX_CPU_S = 1.5  # for any one reply; SQL workers have their own limit
NUM_ROWS = 40
# Parts of replies, in addition to random text: quotes, brackets, numbers that overflow.
PIECES = (
    "",
    "null",
    "[]",
    "{}",
    '{"a": [',
    "1e999",
    "NaN",
    "-0",
    "10.1/x",
    "```",
    "\x00",
    "\ud83d",
)

pytestmark = pytest.mark.parametrize("name", known_tasks())


@dataclass(frozen=True)
class Shipped:
    """A task with the first of its shipped validation rows."""

    task: Task
    examples: list[Example]


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@lru_cache
def shipped(name: str) -> Shipped:
    path = shipped_config(name)
    assert path is not None, f"no rows ship for {name}; add jobs/configs/{name}.yaml"
    config, _ = load_config(path, [])
    found = Shipped(load_task(name), load_sides(config.data).validation[:NUM_ROWS])
    score_replies(found.task, found.examples, [e.target for e in found.examples])  # fill the caches
    return found


def scored(task: Task, example: Example, reply: str) -> tuple[dict[str, float], str]:
    [scores] = score_replies(task, [example], [reply])
    [why] = explain_replies(task, [example], [reply], [scores])
    return scores, why


def test_a_task_declares_its_metrics_fields_and_options(name: str) -> None:
    task = load_task(name)
    assert task.METRIC in task.METRICS and len(set(task.METRICS)) == len(task.METRICS)
    assert task.FIELDS and all(isinstance(what, str) for what in task.FIELDS.values())
    assert isinstance(task.STOP, tuple) and all(task.STOP)
    for field in task.Options.model_fields.values():
        assert field.description and not field.is_required(), "every option has a default"


def test_examples_are_json_and_deterministic(name: str) -> None:
    found = shipped(name)
    again = shipped.__wrapped__(name)
    assert len(found.examples) >= 10 and found.examples == again.examples
    for example in found.examples:
        assert json.loads(json.dumps(dict(example.inputs))) == dict(example.inputs)
        assert example.id and example.group and example.target


def test_prompts_do_not_depend_on_the_target(name: str) -> None:
    """Text and messages depend on the inputs only; the target is in the completion."""
    task, examples = shipped(name).task, shipped(name).examples
    for example in examples:
        prompt, completion = task.to_text(example)
        assert prompt and example.target in completion
        turns = task.to_messages(example)
        assert turns[-1]["role"] == "user"
        assert all(turn["role"] in ("system", "user", "assistant") for turn in turns)
        other = Example(example.id, example.group, example.inputs, "another target")
        assert task.to_text(other)[0] == prompt and task.to_messages(other) == turns


def test_a_reference_scores_1_against_itself(name: str) -> None:
    task, examples = shipped(name).task, shipped(name).examples
    targets = [example.target for example in examples]
    rows = score_replies(task, examples, targets)
    assert [row[task.METRIC] for row in rows] == [1.0] * len(rows)
    assert explain_replies(task, examples, targets, rows) == [""] * len(rows)


def test_an_empty_reply_is_wrong_and_explained(name: str) -> None:
    task, examples = shipped(name).task, shipped(name).examples
    for example in examples:
        scores, why = scored(task, example, "")
        assert scores[task.METRIC] < 1 and why


def test_scores_are_deterministic_and_independent_of_the_batch(name: str) -> None:
    """A score is a function of its row and reply only."""
    task, examples = shipped(name).task, shipped(name).examples
    turned = [example.target for example in [*examples[1:], examples[0]]]
    together = score_replies(task, examples, turned)
    assert together == score_replies(task, examples, turned)
    assert together[:8] == [task.score(e, r) for e, r in zip(examples[:8], turned[:8], strict=True)]


def test_slices_are_texts_with_the_same_names_for_every_row(name: str) -> None:
    task, examples = shipped(name).task, shipped(name).examples
    if not isinstance(task, Sliced):
        pytest.skip(f"{name} has no slices, which are optional")
    slices = [task.slices(example) for example in examples]
    assert len({tuple(found) for found in slices}) == 1
    assert all(isinstance(value, str) and value for found in slices for value in found.values())


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_reply_has_scores_in_time(name: str, data: st.DataObject) -> None:
    task, examples = shipped(name).task, shipped(name).examples
    example = data.draw(st.sampled_from(examples))
    target = example.target
    cut = st.integers(0, len(target)).map(lambda end: target[:end])
    mixed = st.lists(st.one_of(cut, st.sampled_from(PIECES), st.text(max_size=20))).map("".join)
    reply = data.draw(st.one_of(st.text(max_size=200), mixed))
    started = time.process_time()
    scores, why = scored(task, example, reply)
    assert time.process_time() - started <= MAX_CPU_S, reply
    assert all(math.isfinite(value) and 0 <= value <= 1 for value in scores.values())
    assert (why == "") == (scores[task.METRIC] == 1.0), (why, scores)


@pytest.mark.parametrize("reply", ["[" * 50_000, "a b " * 20_000, "\n" * 50_000, "9" * 50_000])
def test_long_replies_are_scored_in_time(name: str, reply: str) -> None:
    found = shipped(name)
    started = time.process_time()
    scores, why = scored(found.task, found.examples[0], reply)
    assert time.process_time() - started <= MAX_CPU_S
    assert scores[found.task.METRIC] < 1 and why
