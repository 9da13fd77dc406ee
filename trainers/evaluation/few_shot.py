"""Asking the untuned model by a good prompt, in a run (the row `few_shot`) and in jobs.evaluate.

few_shot = few_shot_of_run(config, model_dir, train, validation)      # None: no such row
few_shot.told     # "3 training examples (s0007, s0101, s0033), prompts of up to 1,204 tokens"
few_shot.ask([0, 1])                                  # token ids of the prompts of two rows
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

Ask = Callable[[Sequence[int]], list[list[int]]]


@dataclass(frozen=True)
class PromptBuilder:
    """Turns examples into prompts; `context` tokens hold a prompt and `max_new_tokens`."""

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
        """Tokens that a prompt may have."""
        return self.context - self.max_new_tokens

    def is_trained_on(self, example: Example, *, max_length: int) -> bool:
        """Whether preparation keeps the row."""
        [row] = tokenise(self.fmt, self.encode, task=self.task, examples=[example])
        whole = not row.fault and row.num_trained >= MIN_TRAINED
        return whole and len(row.input_ids) <= max_length

    def fit(self, wanted: Prompting, longest: Example) -> Prompting:
        """With as many examples as fit before the `longest` question, and so before all."""
        return fit_shots(wanted, lambda some: self.num_tokens(longest, some), room=self.room)

    def num_tokens(self, example: Example, prompting: Prompting) -> int:
        """Tokens of one prompt."""
        return len(self.prompts([example], prompting)[0])

    def tell(self, found: Prompting, wanted: Prompting, *, num: int, longest: Example) -> str:
        """What stands before each question, and why there are fewer than `num` examples."""
        ids = ", ".join(shot.id for shot in found.shots)
        shown = f"{len(found.shots)} training examples ({ids})" if ids else "no training example"
        told = [shown, f"prompts of up to {self.num_tokens(longest, found):,} tokens"]
        if found.system_prompt is not None:
            told.insert(1, f"a system prompt of {len(found.system_prompt):,} characters")
        if len(found.shots) < len(wanted.shots):
            told.append(
                f"more examples do not fit the context of {self.context:,} tokens with"
                f" max_new_tokens={self.max_new_tokens}"
            )
        if len(wanted.shots) < num:
            told.append(f"{num} asked for, but no other training group has a row")
        return "; ".join(told)


def open_asker(config: Config, model_dir: Path) -> PromptBuilder:
    """For the task and the template of `config` and the tokenizer in `model_dir`."""
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
    """`ask` gives the prompts of validation rows by index; `told` says what stands before them.

    Where not one example fits and there is no system prompt, `ask` is None: it would be the base.
    """

    ask: Ask | None
    told: str


def few_shot_of_run(
    config: Config, model_dir: Path, train: Split, validation: Split
) -> FewShot | None:
    """The same on every worker and in every attempt; None where the config has no such row.

    Examples are training rows of groups that no validation row has.
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
    asker = open_asker(config, model_dir)
    found = asker.fit(wanted, longest)

    def ask(rows: Sequence[int]) -> list[list[int]]:
        return asker.prompts([validation.example(i) for i in rows], found)

    told = asker.tell(found, wanted, num=settings.num_few_shot, longest=longest)
    return FewShot(ask if found != Prompting() else None, told)
