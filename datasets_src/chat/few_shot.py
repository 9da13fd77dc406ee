"""Asking a model by a good prompt instead of tuning it: solved examples and a system prompt.

shots = pick_shots(train.ids, train.groups, num=3, seed=42, avoid=validation.groups)
Prompting(tuple(train.example(i) for i in shots), "Responde solo con SQL.")

chat:  [system prompt] user: question 1, assistant: answer 1, …, user: the question itself
plain: [system prompt⏎⏎] prompt 1 + completion 1 ⏎⏎ … the prompt itself

The same examples in the same order stand before every question, so all prompts begin alike.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from datasets_src.chat.tokenise import TextFormat, chat_tokens, merge_system, plain_tokens
from datasets_src.chat.word_encoder import Encode
from datasets_src.errors import UserError
from datasets_src.split import share_of
from datasets_src.types import Example, ExampleRenderer, Message

SEPARATOR = "\n\n"
MAX_PATH = 1024


@dataclass(frozen=True)
class Prompting:
    """What stands before a question. A system prompt takes the place of the task's own."""

    shots: tuple[Example, ...] = ()
    system_prompt: str | None = None


def pick_shots(
    ids: Sequence[str],
    groups: Sequence[str],
    *,
    num: int,
    seed: int,
    avoid: Collection[str] = (),
    is_usable: Callable[[int], bool] = lambda index: True,
) -> list[int]:
    """Indices of `num` rows of different groups, none of `avoid`; fewer where there are no more.

    A row's place depends on nothing but its id, its group and the seed.
    """

    def place(index: int) -> tuple[float, str, float, str]:
        group, id = groups[index], ids[index]
        return share_of(group, seed=seed), group, share_of(id, seed=seed), id

    def one_a_group() -> Iterator[int]:
        taken = {*avoid}
        for index in sorted(range(len(ids)), key=place):
            if groups[index] not in taken and is_usable(index):
                taken.add(groups[index])
                yield index

    return list(islice(one_a_group(), num))


def prompt_tokens(
    fmt: TextFormat,
    encode: Encode,
    *,
    task: ExampleRenderer,
    examples: Sequence[Example],
    prompting: Prompting,
) -> list[list[int]]:
    """Token ids of the prompts, made as those of training are.

    Raises:
        UserError: a template that refuses the conversation.
    """
    targets = [example.target for example in examples]
    if fmt.template == "plain":
        pairs = [_plain_pair(task, example, prompting) for example in examples]
        rows = plain_tokens(fmt, encode, pairs)
    else:
        turns = [conversation(task, example, prompting) for example in examples]
        rows = chat_tokens(fmt, encode, turns, targets)
    for example, row in zip(examples, rows, strict=True):
        if row.fault:
            raise UserError(
                f"eval.num_few_shot: {len(prompting.shots)} examples before row {example.id}: "
                f"{row.fault}; set num_few_shot=0"
            )
    return [row.input_ids[: row.prompt_len] for row in rows]


def fit_shots(
    prompting: Prompting, num_tokens: Callable[[Prompting], int], *, room: int
) -> Prompting:
    """With as many of the examples, from the first, as leave `num_tokens` within `room`."""
    for num in range(len(prompting.shots), 0, -1):
        fewer = replace(prompting, shots=prompting.shots[:num])
        if num_tokens(fewer) <= room:
            return fewer
    return replace(prompting, shots=())


def conversation(task: ExampleRenderer, example: Example, prompting: Prompting) -> list[Message]:
    """The turns up to the question. Of several system turns that are equal, one is left."""
    system, question = _parted(task.to_messages(example))
    turns: list[Message] = []
    for shot in prompting.shots:
        shot_system, asked = _parted(task.to_messages(shot))
        differs = prompting.system_prompt is None and shot_system != system
        turns += merge_system([*shot_system, *asked]) if differs else asked
        turns.append(Message(role="assistant", content=shot.target))
    if prompting.system_prompt is not None:
        system = [Message(role="system", content=prompting.system_prompt)]
    return [*system, *turns, *question]


def _parted(turns: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """The system turn, if there is one, and the others."""
    num = int(bool(turns) and turns[0]["role"] == "system")
    return list(turns[:num]), list(turns[num:])


def _plain_pair(task: ExampleRenderer, example: Example, prompting: Prompting) -> tuple[str, str]:
    prompt, completion = task.to_text(example)
    shots = ["".join(task.to_text(shot)).rstrip("\n") for shot in prompting.shots]
    system = [] if prompting.system_prompt is None else [prompting.system_prompt]
    return SEPARATOR.join([*system, *shots, prompt]), completion


def read_system_prompt(given: str) -> str:
    """The text of the file that is named, or the text itself.

    Raises:
        ValueError: what looks like a file is none, or cannot be read.
    """
    is_name = len(given) < MAX_PATH and "\n" not in given
    path = Path(given).expanduser() if is_name else None
    if path is not None and path.is_file():
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{given} cannot be read ({error}); give a UTF-8 text file") from None
    if path is not None and path.suffix and not any(map(str.isspace, given)):
        raise ValueError(f"no file {given}; give one that is there, or the text itself")
    return given
