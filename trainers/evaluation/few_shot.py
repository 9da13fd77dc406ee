"""Few-shot prompts for the untuned model: a run's baseline `few_shot`, and jobs.evaluate.

few_shot = few_shot_of_run(config, model_dir, train, validation)    # None: turned off
few_shot.summary            # "3 training examples (s0007, s0101, s0033); prompts of up to 1,204 …"
few_shot.prompts_of([0, 1])                           # token ids of the prompts of two rows
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets_src.chat.few_shot import Prompting, fit_shots, pick_shots, prompt_tokens
from datasets_src.chat.tokenise import (
    MIN_TRAINED,
    TextFormat,
    open_tokenizer,
    read_format,
    tokenise,
)
from datasets_src.chat.word_encoder import Encode
from datasets_src.prepared.store import Split
from datasets_src.task import Task, load_task
from datasets_src.types import Example
from trainers.config.schema import Config
from trainers.models.resolve import context_length

PromptsOf = Callable[[Sequence[int]], list[list[int]]]  # row indices -> prompt token ids


@dataclass(frozen=True)
class PromptBuilder:
    """Builds prompts; a prompt and `max_new_tokens` must fit in `context` tokens."""

    fmt: TextFormat
    encode: Encode
    task: Task
    context: int
    max_new_tokens: int

    def prompts(self, examples: Sequence[Example], prompting: Prompting) -> list[list[int]]:
        """Token ids of the prompts, in the order of `examples`."""
        return prompt_tokens(
            self.fmt, self.encode, task=self.task, examples=examples, prompting=prompting
        )

    @property
    def room(self) -> int:
        """Maximum length of a prompt, in tokens."""
        return self.context - self.max_new_tokens

    def is_trained_on(self, example: Example, *, max_length: int) -> bool:
        """Whether preparation keeps the row: it has a loss position and fits `max_length`."""
        [row] = tokenise(self.fmt, self.encode, task=self.task, examples=[example])
        whole = not row.fault and row.num_trained >= MIN_TRAINED
        return whole and len(row.input_ids) <= max_length

    def fit(self, wanted: Prompting, longest: Example) -> Prompting:
        """Keep as many of the examples as fit before `longest`, the row with the longest prompt."""
        return fit_shots(wanted, lambda some: self.num_tokens(longest, some), room=self.room)

    def num_tokens(self, example: Example, prompting: Prompting) -> int:
        """Length of one prompt, in tokens."""
        return len(self.prompts([example], prompting)[0])

    def summary(self, found: Prompting, wanted: Prompting, *, num: int, longest: Example) -> str:
        """What precedes each question, and why there are fewer than `num` examples."""
        ids = ", ".join(shot.id for shot in found.shots)
        examples = f"{len(found.shots)} training examples ({ids})" if ids else "no training example"
        parts = [examples, f"prompts of up to {self.num_tokens(longest, found):,} tokens"]
        if found.system_prompt is not None:
            parts.insert(1, f"a system prompt of {len(found.system_prompt):,} characters")
        if len(found.shots) < len(wanted.shots):
            parts.append(
                f"more examples do not fit the context of {self.context:,} tokens with"
                f" max_new_tokens={self.max_new_tokens}"
            )
        if len(wanted.shots) < num:
            parts.append(f"{num} requested, but no other training group has a row")
        return "; ".join(parts)


def open_prompt_builder(config: Config, model_dir: Path) -> PromptBuilder:
    """A builder for the task and template of `config` and the tokenizer in `model_dir`."""
    fmt = read_format(model_dir, config.data.template)
    return PromptBuilder(
        fmt=fmt,
        encode=open_tokenizer(fmt),
        task=load_task(config.data.task),
        context=context_length(model_dir),
        max_new_tokens=config.eval.max_new_tokens,
    )


@dataclass(frozen=True)
class FewShot:
    """Prompts of the baseline `few_shot`.

    Attributes:
        prompts_of: prompts of validation rows by index; None if no example fits and there is no
            system prompt, which would be the baseline `base`.
        summary: what precedes each question.
    """

    prompts_of: PromptsOf | None
    summary: str


def few_shot_of_run(
    config: Config, model_dir: Path, train: Split, validation: Split
) -> FewShot | None:
    """The few-shot prompts of a run, equal on every worker and attempt; None if turned off.

    Examples are training rows of groups without a validation row.
    """
    settings = config.eval
    if not (settings.eval_on_start and settings.num_few_shot):
        return None
    shots = pick_shots(
        train.ids,
        train.groups,
        num=settings.num_few_shot,
        seed=config.train.seed,
        avoid=validation.groups,
    )
    wanted = Prompting(tuple(train.example(i) for i in shots), settings.system_prompt)
    longest = validation.example(int(validation.prompt_lens.argmax()))
    builder = open_prompt_builder(config, model_dir)
    found = builder.fit(wanted, longest)

    def prompts_of(rows: Sequence[int]) -> list[list[int]]:
        return builder.prompts([validation.example(i) for i in rows], found)

    summary = builder.summary(found, wanted, num=settings.num_few_shot, longest=longest)
    return FewShot(prompts_of if found != Prompting() else None, summary)
