"""Few-shot prompts: a system prompt and solved examples before the question.

shots = pick_shots(train.ids, train.groups, num=3, seed=42, avoid=validation.groups)
Prompting(tuple(train.example(i) for i in shots), "Responde solo con SQL.")

chat:  [system prompt] user: question 1, assistant: answer 1, …, user: the question itself
plain: [system prompt⏎⏎] prompt 1 + completion 1 ⏎⏎ … the prompt itself

All prompts share the same examples in the same order, so they share a prefix in the KV cache.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from datasets_src.chat.render import merge_system
from datasets_src.chat.tokenise import TextFormat, chat_tokens, plain_tokens
from datasets_src.chat.word_encoder import Encode
from datasets_src.errors import UserError
from datasets_src.split import share_of
from datasets_src.types import Example, ExampleRenderer, Message

SEPARATOR = "\n\n"
MAX_PATH = 1024


@dataclass(frozen=True)
class Prompting:
    """What precedes a question. `system_prompt` replaces the task's own system turn."""

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
    """Choose rows for solved examples.

    A row's rank depends only on its id, its group and the seed.

    Args:
        ids: id of each row.
        groups: group of each row.
        num: how many rows to choose.
        seed: random seed of the choice.
        avoid: groups that are never chosen, e.g. those of the validation rows.
        is_usable: whether the row at an index may be chosen.

    Returns:
        Indices of at most `num` rows, each of a different group.
    """

    def rank(index: int) -> tuple[float, str, float, str]:
        group, id = groups[index], ids[index]
        return share_of(group, seed=seed), group, share_of(id, seed=seed), id

    def one_a_group() -> Iterator[int]:
        taken = {*avoid}
        for index in sorted(range(len(ids)), key=rank):
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
    """Token ids of the prompts, tokenised as in training.

    Raises:
        UserError: the chat template rejects the conversation.
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
    """`prompting` with the longest prefix of its examples for which `num_tokens` <= `room`."""
    for num in range(len(prompting.shots), 0, -1):
        fewer = replace(prompting, shots=prompting.shots[:num])
        if num_tokens(fewer) <= room:
            return fewer
    return replace(prompting, shots=())


def conversation(task: ExampleRenderer, example: Example, prompting: Prompting) -> list[Message]:
    """The turns up to and including the question; equal system turns are written once."""
    system, question = _split_system(task.to_messages(example))
    turns: list[Message] = []
    for shot in prompting.shots:
        shot_system, shot_question = _split_system(task.to_messages(shot))
        differs = prompting.system_prompt is None and shot_system != system
        turns += merge_system([*shot_system, *shot_question]) if differs else shot_question
        turns.append(Message(role="assistant", content=shot.target))
    if prompting.system_prompt is not None:
        system = [Message(role="system", content=prompting.system_prompt)]
    return [*system, *turns, *question]


def _split_system(turns: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """The system turn, if any, and the other turns."""
    num = int(bool(turns) and turns[0]["role"] == "system")
    return list(turns[:num]), list(turns[num:])


def _plain_pair(task: ExampleRenderer, example: Example, prompting: Prompting) -> tuple[str, str]:
    prompt, completion = task.to_text(example)
    shots = ["".join(task.to_text(shot)).rstrip("\n") for shot in prompting.shots]
    system = [] if prompting.system_prompt is None else [prompting.system_prompt]
    return SEPARATOR.join([*system, *shots, prompt]), completion


def read_system_prompt(given: str) -> str:
    """The content of the file named `given`, or `given` itself.

    Raises:
        ValueError: `given` looks like a file name but does not exist or cannot be read.
    """
    is_name = len(given) < MAX_PATH and "\n" not in given
    path = Path(given).expanduser() if is_name else None
    if path is not None and path.is_file():
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{given} cannot be read ({error}); give a UTF-8 text file") from None
    if path is not None and path.suffix and not any(map(str.isspace, given)):
        raise ValueError(f"no file {given}; name an existing file, or give the text itself")
    return given
