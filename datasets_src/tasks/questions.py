"""A passage and how many reading questions are wanted; scored by what the instruction asks for.

{"id": "q0001", "group": "Ribalta", "passage": "Biografía\\nElvira Ribalta nació en Soto en 1931 …",
 "questions": ["¿Dónde nació Ribalta?", "¿Verdadero o falso? Ribalta estudió botánica."],
 "split": "train"}

`questions` is a list, a numbered text, or the messages of a conversation, which `passage` may be
too. How many are asked for, and how many of them true/false, is what the reference has. The forms
are those of github.com/FrancoArtico/question-generator-LLM.

There is no single right reply, so `quality` is obedience: the product, over the rules below, of
how far a reply keeps each, as a share of how far the row's reference keeps it (1 at most). So a
reference is always worth 1, and no more is asked of a reply than was shown.

count_obeyed         whether exactly as many questions are asked as wanted
true_false_share     where true/false is wanted: 1 less the share of the questions too many or few
question_form        share with "¿" and "?" (Spanish) or "?" (Catalan, English); true/false has it
no_near_duplicates   share that no earlier question asks with the same words
no_leaked_answers    questions beside questions and what gives answers: lines, options, verdicts
answerable           share whose words the passage bears out (datasets_src/text/answerable.py)

Two are only reported: no_exact_duplicates, and opener_diversity, distinct openings by questions.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from datasets_src.config import Section
from datasets_src.errors import UserError
from datasets_src.text.answerable import (
    content_words,
    is_answerable,
    is_in,
    num_near_duplicates,
    opener,
)
from datasets_src.text.question_lists import Question, read_list
from datasets_src.types import Example, Message

FIELDS = {
    "passage": "the text to read, or the messages of a conversation that asks about it",
    "questions": "the reference: a list, a numbered text, or the same messages",
}
METRIC = "quality"
METRICS = (
    *("quality", "count_obeyed", "true_false_share", "question_form", "no_near_duplicates"),
    *("no_leaked_answers", "answerable", "no_exact_duplicates", "opener_diversity"),
)
STOP = ("\n\n",)
REPORTED = ("no_exact_duplicates", "opener_diversity")
_BROKEN_RULE = {
    "true_false_share": "other kinds of question",
    "question_form": "not in the form of questions",
    "no_near_duplicates": "asks the same twice",
    "no_leaked_answers": "gives answers",
    "answerable": "asks what the passage does not tell",
}
# Of a reply; more is counted, not compared. Comparing all pairs of a thousand takes a second.
_MAX_COMPARED = 200
_MAX_CHARS = 50_000

_INSTRUCTIONS = {
    "es": (
        "Genera exactamente {num} preguntas de lectura comprensiva, sin incluir las respuestas ni "
        "opciones, sobre el {which}",
        "Genera exactamente {num} preguntas, de las cuales {num_true_false} deben ser de tipo "
        "verdadero o falso, sin incluir las respuestas ni opciones, sobre el {which}",
        ("siguiente texto", "texto anterior"),
        "Aquí tienes algunas preguntas sobre el texto proporcionado \n ",
    ),
    "ca": (
        "Genera exactament {num} preguntes de comprensió lectora, sense incloure les respostes ni "
        "opcions, sobre el {which}",
        "Genera exactament {num} preguntes, de les quals {num_true_false} han de ser de tipus "
        "vertader o fals, sense incloure les respostes ni opcions, sobre el {which}",
        ("text següent", "text anterior"),
        "Aquí tens algunes preguntes sobre el text proporcionat \n ",
    ),
    "en": (
        "Write exactly {num} reading comprehension questions, without the answers or options, "
        "about the {which}",
        "Write exactly {num} questions, of which {num_true_false} must be true or false, without "
        "the answers or options, about the {which}",
        ("following text", "text above"),
        "Here are some questions about the text provided \n ",
    ),
}
_LEADING_INSTRUCTION = re.compile(r"\s*Genera exactamente [^:]{1,200} sobre el siguiente texto:\s*")


class Options(Section):
    """`data.task_options` of this task."""

    language: Literal["es", "ca", "en"] = Field("es", description="of instruction and questions")
    field_order: Literal["authors", "shared_first"] = Field(
        "authors",
        description="instruction, then passage; shared_first computes equal passages once",
    )
    answer_form: Literal["authors", "list"] = Field(
        "authors", description="a sentence and the numbered questions, or these alone"
    )


def load(rows: Iterable[Mapping[str, Any]], options: Options) -> Iterator[Example]:
    """Examples of mapped rows. A row without a group of its own is grouped by its passage.

    UserError, on the way: a row without a passage, or whose reference asks nothing.
    """
    return (_example(row, options) for row in rows)


def _example(row: Mapping[str, Any], options: Options) -> Example:
    passage = _LEADING_INSTRUCTION.sub("", _turn(row["passage"], "user"), count=1).strip()
    text, num_listed = _reference(row["questions"])
    questions = read_list(text).questions
    if not passage or not questions or num_listed not in (None, len(questions)):
        name = "questions" if passage else "passage"
        raise UserError(
            f"data.train_file: row {row['id']}: `{name}` is {str(row[name])[:60]!r}, in which "
            f"{len(questions)} questions are found; correct it or remove the row"
        )
    if num_listed and options.answer_form == "authors":
        text = _INSTRUCTIONS[options.language][-1] + text
    return Example(
        id=row["id"],
        group=row["group"] if row["group"] != row["id"] else _digest(passage),
        inputs={
            "passage": passage,
            "num_questions": len(questions),
            "num_true_false": sum(question.is_true_false for question in questions),
            "language": options.language,
            "field_order": options.field_order,
        },
        target=text,
        split=row.get("split"),
    )


def _reference(given: Any) -> tuple[str, int | None]:
    """The reply to learn; of a list of questions also their number."""
    if isinstance(given, list) and all(isinstance(item, str) for item in given):
        return "\n".join(f"{i}. {text.strip()}" for i, text in enumerate(given, 1)), len(given)
    return _turn(given, "assistant"), None


def _digest(passage: str) -> str:
    """Of its words: rows of one passage are one group however it is spaced."""
    return hashlib.sha256(" ".join(passage.casefold().split()).encode()).hexdigest()[:16]


def _turn(value: Any, role: str) -> str:
    """A text, or what `role` says last in a conversation."""
    if isinstance(value, list):
        turns = [turn for turn in value if isinstance(turn, dict) and turn.get("role") == role]
        value = turns[-1].get("content") if turns else ""
    return str(value).strip()


def to_messages(example: Example) -> list[Message]:
    """One user turn: the authors' instruction and the passage, in the order that is set."""
    return [{"role": "user", "content": _prompt(example)}]


def to_text(example: Example) -> tuple[str, str]:
    """The same turn, an empty line, the reply, and an empty line at which it is cut."""
    return f"{_prompt(example)}\n\n", f"{example.target}\n\n"


def _prompt(example: Example) -> str:
    inputs = example.inputs
    plain, mixed, (following, above), _ = _INSTRUCTIONS[inputs["language"]]
    first = inputs["field_order"] == "authors"
    instruction = (mixed if inputs["num_true_false"] else plain).format(
        num=inputs["num_questions"],
        num_true_false=inputs["num_true_false"],
        which=following if first else above,
    )
    if not first:
        return f"{inputs['passage']}\n\n{instruction}."
    # The authors put an article below the instruction where they ask for true/false, else beside.
    gap = "\n\n" if inputs["num_true_false"] else " "
    return f"{instruction}:{gap}{inputs['passage']}"


def score(example: Example, reply: str) -> dict[str, float]:
    """METRICS (`true_false_share` where any is wanted); all 0 where the reply asks nothing."""
    kept = _rule_shares(example, reply)
    quality = 1.0
    for name, value in _rule_shares(example, example.target).items():
        if name not in REPORTED and value:
            quality *= min(1.0, kept[name] / value)
    return {"quality": quality, **kept}


def why(example: Example, reply: str, scores: Mapping[str, float]) -> str:
    """The first rule that a reply breaks and its reference does not."""
    if scores["quality"] == 1:
        return ""
    wanted = example.inputs["num_questions"]
    num = len(read_list(reply[:_MAX_CHARS]).questions)
    if num != wanted:
        return f"{num} questions, not {wanted}"
    reference = _rule_shares(example, example.target)
    broken = [name for name in _BROKEN_RULE if scores.get(name, 1) < reference.get(name, 1)]
    return ", ".join(_BROKEN_RULE[name] for name in broken)


def slices(example: Example) -> dict[str, str]:
    """By how many questions are wanted and of which kind."""
    num_true_false = example.inputs["num_true_false"]
    kind = "with true/false" if num_true_false else "open"
    return {"wanted": str(example.inputs["num_questions"]), "kind": kind}


def _rule_shares(example: Example, reply: str) -> dict[str, float]:
    """How far a reply keeps each rule."""
    inputs = example.inputs
    return dict(
        _rules(
            reply[:_MAX_CHARS],
            inputs["passage"],
            num_wanted=inputs["num_questions"],
            num_true_false=inputs["num_true_false"],
            language=inputs["language"],
        )
    )


@lru_cache(maxsize=4096)
def _rules(
    reply: str, passage: str, *, num_wanted: int, num_true_false: int, language: str
) -> Mapping[str, float]:
    parsed = read_list(reply)
    questions, num = parsed.questions, len(parsed.questions)
    if not num:
        names = [name for name in METRICS[1:] if num_true_false or name != "true_false_share"]
        return dict.fromkeys(names, 0.0)
    texts = [question.text for question in questions[:_MAX_COMPARED]]
    compared = len(texts)
    given = [line for line in parsed.remarks if any(is_in(w, passage) for w in content_words(line))]
    num_leaks = parsed.num_leaks + len(given)
    kept = {
        "count_obeyed": float(num == num_wanted),
        "question_form": sum(_has_form(q, language) for q in questions) / num,
        "no_near_duplicates": 1 - num_near_duplicates(texts) / compared,
        "no_leaked_answers": num / (num + num_leaks),
        "answerable": sum(is_answerable(text, passage) for text in texts) / compared,
        "no_exact_duplicates": len({text.casefold() for text in texts}) / compared,
        "opener_diversity": len({opener(text) for text in texts}) / compared,
    }
    if num_true_false:
        surplus = abs(sum(question.is_true_false for question in questions) - num_true_false)
        kept["true_false_share"] = max(0.0, 1 - surplus / num_wanted)
    return kept


def _has_form(question: Question, language: str) -> bool:
    if question.is_true_false:
        return True
    opened = "¿" in question.text or language != "es"
    return opened and question.text.endswith("?")
