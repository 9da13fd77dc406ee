"""Values that flow through a run: frozen, JSON-able, one meaning each.

An example row of the text2sql task:
    Example(id="7", group="19", inputs={"question": "¿Cuántas rutas hay?", "schema": "CREATE ..."},
            target="SELECT COUNT(*) FROM rutas", split="train")
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict


class Message(TypedDict):
    """One turn of a conversation, in the form of `tokenizer.apply_chat_template`."""

    role: str
    content: str


@dataclass(frozen=True)
class Example:
    """One task row. `group` keeps paraphrases on one side of a split; `split` is the given one.

    `inputs` holds all that the prompt and the score need, as JSON values.
    """

    id: str
    group: str
    inputs: Mapping[str, Any]
    target: str
    split: str | None = None


class ExampleRenderer(Protocol):
    """The part of a task (task.py) that renders examples; a module is one."""

    def to_messages(self, example: Example) -> list[Message]:
        """The prompt as turns of a conversation, for `data.template=chat`."""

    def to_text(self, example: Example) -> tuple[str, str]:
        """Prompt and completion as text, for `data.template=plain`."""


@dataclass(frozen=True)
class TokenizedExample:
    """`input_ids` [T]; the first `prompt_len` of them are the prompt and are not trained on."""

    id: str
    group: str
    input_ids: tuple[int, ...]
    prompt_len: int


@dataclass(frozen=True)
class StepPlan:
    """One optimizer step: row indices into the training split."""

    step: int
    epoch: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Slice:
    """The chosen metric over the `n` rows of one value of one of the task's slices."""

    n: int
    num_groups: int
    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Score:
    """One line of scores.jsonl. `name` is "base", "few_shot" (the base, asked by a good
    prompt), "constant" or the checkpoint's "step-000140".

    `n` rows in `num_groups` groups were scored. `metrics` are means over those of them,
    `num_rows` many, to which a metric applies, `intervals` their 95 % intervals (low, high);
    `slices` maps e.g. "language=ca" to the chosen metric there. `predictions` is the file of
    replies, relative to the run directory. `greater_is_better` is of the chosen metric.
    """

    name: str
    step: int | None
    n: int
    metric: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    predictions: str
    seconds: float
    constant_reply: str | None = None
    num_groups: int = 0
    num_rows: dict[str, int] = field(default_factory=dict)
    slices: dict[str, Slice] = field(default_factory=dict)
    greater_is_better: bool = True

    @property
    def merit(self) -> float:
        """The chosen metric, signed: the greater, the better."""
        value = self.metrics[self.metric]
        return value if self.greater_is_better else -value
