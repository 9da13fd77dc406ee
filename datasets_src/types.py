"""Values that every part of a run shares: frozen dataclasses that serialise to JSON.

An example row of the text2sql task:
    Example(id="7", group="19", inputs={"question": "¿Cuántas rutas hay?", "schema": "CREATE ..."},
            target="SELECT COUNT(*) FROM rutas", split="train")
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict


class Message(TypedDict):
    """One turn of a conversation, as `tokenizer.apply_chat_template` takes it."""

    role: str
    content: str


@dataclass(frozen=True)
class Example:
    """One task input with its target.

    `group` keeps related rows, such as paraphrases, on one side of the split. `split` is the side
    given in the file, None without one. `inputs` holds all that the prompt and the score need, as
    JSON values.
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
    """`input_ids` [T]: `prompt_len` prompt tokens, then the target tokens (loss positions)."""

    id: str
    group: str
    input_ids: tuple[int, ...]
    prompt_len: int


@dataclass(frozen=True)
class StepPlan:
    """One optimizer step: `rows` are indices into the training split."""

    step: int
    epoch: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Slice:
    """The chosen metric over the `n` rows that share one value of a slice."""

    n: int
    num_groups: int
    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Score:
    """One line of scores.jsonl.

    `name` is a baseline, "base", "few_shot" (the base with a system prompt and solved examples) or
    "constant", or a checkpoint, e.g. "step-000140". `n` rows in `num_groups` groups were scored.
    `metrics` are means over the `num_rows[metric]` rows to which each applies, `intervals` their
    95 % intervals (low, high). `slices` maps e.g. "language=ca" to the chosen metric on that slice.
    `predictions` is the file of replies, relative to the run directory. `greater_is_better` refers
    to the chosen metric. `num_thinking` replies started with a thinking block, which is not scored;
    `num_unclosed` of these blocks do not end, so no answer follows.
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
    num_thinking: int = 0
    num_unclosed: int = 0

    @property
    def merit(self) -> float:
        """The chosen metric, negated if lower is better."""
        value = self.metrics[self.metric]
        return value if self.greater_is_better else -value
