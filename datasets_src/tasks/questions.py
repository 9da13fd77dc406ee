"""Generating reading comprehension questions on a passage; scored by the instruction's rules.

{"id": "q0001", "group": "Ribalta", "passage": "Biografía\\nElvira Ribalta nació en Soto en 1931 …",
 "questions": ["¿Dónde nació Ribalta?", "¿Verdadero o falso? Ribalta estudió botánica."],
 "split": "train"}

`questions` is a list, a numbered text, or the messages of a conversation; `passage` may be messages
too. The reference determines how many questions the prompt requests, and how many of them
true/false. The prompt format is that of github.com/FrancoArtico/question-generator-LLM.

There is no single right reply, so `quality` measures compliance: the product over the rules below
of the reply's value divided by the reference's, at most 1 each. A reference therefore scores 1, and
a reply need not be better than its reference.

count_obeyed         whether the number of questions is exactly the requested one
true_false_share     if true/false is requested: 1 minus the share of surplus or missing ones
question_form        share with "¿" and "?" (Spanish) or "?" (Catalan, English); true/false counts
no_near_duplicates   share that repeats no earlier question's words
no_leaked_answers    questions / (questions + leaked answers: lines, options, verdicts)
answerable           share whose words the passage supports (datasets_src/text/answerable.py)

Two are only reported: no_exact_duplicates, and opener_diversity, distinct openings per question.
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
    "passage": "the text to read, or the messages of a conversation about it",
    "questions": "the reference questions: a list, a numbered text, or the same messages",
}
METRIC = "quality"
METRICS = (
    *("quality", "count_obeyed", "true_false_share", "question_form", "no_near_duplicates"),
    *("no_leaked_answers", "answerable", "no_exact_duplicates", "opener_diversity"),
)
STOP = ("\n\n",)
REPORTED = ("no_exact_duplicates", "opener_diversity")
_BROKEN_RULE = {
    "true_false_share": "wrong number of true/false questions",
    "question_form": "not formatted as questions",
    "no_near_duplicates": "repeats a question",
    "no_leaked_answers": "leaks answers",
    "answerable": "not answerable from the passage",
}
# Further questions are counted, not compared: comparing all pairs of a thousand takes a second.
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

    language: Literal["es", "ca", "en"] = Field(
        "es", description="language of the prompt and of the questions"
    )
    field_order: Literal["authors", "shared_first"] = Field(
        "authors",
        description="instruction, then passage; shared_first: passage first, computed once",
    )
    answer_form: Literal["authors", "list"] = Field(
        "authors",
        description="target: a sentence and the numbered questions, or only the questions",
    )


def load(rows: Iterable[Mapping[str, Any]], options: Options) -> Iterator[Example]:
    """Examples from mapped rows. A row without a group is grouped by its passage.

    Raises:
        UserError: while iterating, a row without a passage or without reference questions.
    """
    return (_example(row, options) for row in rows)


def _example(row: Mapping[str, Any], options: Options) -> Example:
    passage = _LEADING_INSTRUCTION.sub("", _turn(row["passage"], "user"), count=1).strip()
    text, num_listed = _reference(row["questions"])
    questions = read_list(text).questions
    if not passage or not questions or num_listed not in (None, len(questions)):
        name = "questions" if passage else "passage"
        raise UserError(
            f"data.train_file: row {row['id']}: `{name}` is {str(row[name])[:60]!r}, with "
            f"{len(questions)} questions found; correct it or remove the row"
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
    """The target text, and for a list of questions their number."""
    if isinstance(given, list) and all(isinstance(item, str) for item in given):
        return "\n".join(f"{i}. {text.strip()}" for i, text in enumerate(given, 1)), len(given)
    return _turn(given, "assistant"), None


def _digest(passage: str) -> str:
    """Hash of its words: white space does not split a passage into several groups."""
    return hashlib.sha256(" ".join(passage.casefold().split()).encode()).hexdigest()[:16]


def _turn(value: Any, role: str) -> str:
    """A text, or the last message of `role` in a conversation."""
    if isinstance(value, list):
        turns = [turn for turn in value if isinstance(turn, dict) and turn.get("role") == role]
        value = turns[-1].get("content") if turns else ""
    return str(value).strip()


def to_messages(example: Example) -> list[Message]:
    """One user turn: the authors' instruction and the passage, in the configured order."""
    return [{"role": "user", "content": _prompt(example)}]


def to_text(example: Example) -> tuple[str, str]:
    """The same turn and an empty line; the reply and the empty line that ends it."""
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
    # The authors put the passage on a new paragraph for true/false, otherwise on the same line.
    gap = "\n\n" if inputs["num_true_false"] else " "
    return f"{instruction}:{gap}{inputs['passage']}"


def score(example: Example, reply: str) -> dict[str, float]:
    """METRICS (`true_false_share` where any is wanted); all 0 if the reply has no question."""
    kept = _rule_shares(example, reply)
    quality = 1.0
    for name, value in _rule_shares(example, example.target).items():
        if name not in REPORTED and value:
            quality *= min(1.0, kept[name] / value)
    return {"quality": quality, **kept}


def why(example: Example, reply: str, scores: Mapping[str, float]) -> str:
    """The rules that the reply keeps less than its reference; "" if none."""
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
    """By requested number and kind of questions."""
    num_true_false = example.inputs["num_true_false"]
    kind = "with true/false" if num_true_false else "open"
    return {"wanted": str(example.inputs["num_questions"]), "kind": kind}


def _rule_shares(example: Example, reply: str) -> dict[str, float]:
    """The value of each rule for a reply."""
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
