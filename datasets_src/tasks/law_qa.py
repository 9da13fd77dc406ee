"""Short answers to questions about a law, citing the articles that support them.

{"id": "l0007", "group": "FM:12", "question": "¿A qué hora cierran los refugios de Ribalta?",
 "context": "Art. 12 FM. Los refugios de Ribalta cierran a las 22 horas.",
 "answer": "A las 22 horas (art. 12 FM).", "split": "train"}

`context` holds the articles to read; "" asks from memory (if rows have no such column, set
columns: {context: '*'}). A question with options "a) … b) …" is multiple choice if its answer names
one. An answer that contains one of `abstentions` states that the law has no answer. The prompt
format is in text/alpaca.py, the citation format in text/law_articles.py.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from datasets_src.config import Section
from datasets_src.errors import UserError
from datasets_src.text import alpaca
from datasets_src.text.choices import chosen_letter, options_of
from datasets_src.text.law_articles import Citation, find_citations, is_known
from datasets_src.text.measures import fold, token_f1
from datasets_src.types import Example, Message

FIELDS = {
    "question": "the question, optionally with options a) b) c)",
    "context": "the articles to read; may be empty",
    "answer": "the reference answer, citing its articles",
}
METRIC = "token_f1"
METRICS = ("token_f1", "citation_f1", "article_exists", "choice_accuracy", "abstention")
STOP = alpaca.STOP
# Laws of Ecuador by citation code.
LAWS = {
    "CRE": [
        *("Constitución de la República del Ecuador", "Constitución de la República"),
        "Constitución",
    ],
    "CC": ["Código Civil"],
    "COIP": ["Código Orgánico Integral Penal"],
    "COGEP": ["Código Orgánico General de Procesos"],
    "COA": ["Código Orgánico Administrativo"],
    "CT": ["Código del Trabajo"],
    "CNA": ["Código de la Niñez y Adolescencia"],
    "LOGJCC": ["Ley Orgánica de Garantías Jurisdiccionales y Control Constitucional"],
}
ABSTENTIONS = (
    *(
        "no lo dice",
        "no consta",
        "no lo regula",
        "no se regula",
        "no lo establece",
        "no hay artículo",
    ),
    *("ningún artículo", "no lo menciona", "no se menciona", "no puedo responder", "no lo sé"),
)


class Options(Section):
    """`data.task_options` of this task."""

    field_order: alpaca.Order = Field(
        "authors", description="question, then law; shared_first: law first"
    )
    articles_file: str | None = Field(
        None,
        description='JSON file of existing articles: {"CRE": ["1-444"]} or ["1-60", "61 bis"]',
    )
    laws: dict[str, list[str]] = Field(
        LAWS, description="citation code of a law -> its other names"
    )
    abstentions: tuple[str, ...] = Field(
        ABSTENTIONS, min_length=1, description="phrases with which an answer abstains"
    )


def check(options: Options) -> None:
    """Raise UserError if `articles_file` is missing or malformed."""
    _known(options)


def load(rows: Iterable[Mapping[str, Any]], options: Options) -> Iterator[Example]:
    """Examples from mapped rows.

    Raises:
        UserError: immediately, what `check` finds; while iterating, a row without question or
            answer, or whose answer cites an article in neither the file nor its context.
    """
    shared = {
        "field_order": options.field_order,
        "known": _known(options),
        "laws": options.laws,
        "abstentions": [fold(phrase).casefold() for phrase in options.abstentions],
    }
    return (_example(row, shared) for row in rows)


def _known(options: Options) -> dict[str, list[str]]:
    if options.articles_file is None:
        return {}
    path = Path(options.articles_file).expanduser()
    where = f"data.task_options.articles_file: {path}"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not JSON: {error}"
        raise UserError(
            f'{where} cannot be read ({reason}); write e.g. {{"CRE": ["1-444"]}}'
        ) from error
    known = {"": value} if isinstance(value, list) else value
    lists = list(known.values()) if isinstance(known, dict) else []
    if not lists or not all(isinstance(x, list) and x for x in lists):
        raise UserError(
            f'{where}: not lists of articles; write e.g. {{"CRE": ["1-444", "61 bis"]}}'
        )
    return {str(law): [str(entry) for entry in entries] for law, entries in known.items()}


def _example(row: Mapping[str, Any], shared: Mapping[str, Any]) -> Example:
    row = {**row, "context": alpaca.optional(row["context"], "context")}
    for name in FIELDS:
        if not isinstance(row[name], str) or not (row[name].strip() or name == "context"):
            raise UserError(
                f"data.train_file: row {row['id']}: `{name}` is {row[name]!r}, expected text; "
                "fill it in or remove the row"
            )
    example = Example(
        id=row["id"],
        group=row["group"],
        inputs={"question": row["question"], "context": row["context"], **shared},
        target=row["answer"].strip(),
        split=row.get("split"),
    )
    if unknown := _unknown(example, _cited(example, example.target)):
        raise UserError(
            f"data.train_file: row {row['id']}: the answer cites {unknown[0]}, which is neither in "
            "articles_file nor in the context; correct the answer, or add the article"
        )
    return example


def to_messages(example: Example) -> list[Message]:
    """One user turn: question and law, separated by a line break."""
    given = example.inputs
    content = alpaca.join(given["question"], given["context"], order=given["field_order"])
    return [{"role": "user", "content": content}]


def to_text(example: Example) -> tuple[str, str]:
    """Alpaca's prompt in Spanish, and the answer."""
    given = example.inputs
    prompt = alpaca.plain(given["question"], given["context"], order=given["field_order"])
    return prompt, example.target


def score(example: Example, reply: str) -> dict[str, float]:
    """The METRICS that apply to the row.

    `citation_f1` if the reference cites. `article_exists` if articles are known: 1 if all cited
    articles exist and, if the reference cites, the reply does too. `choice_accuracy` for multiple
    choice. `abstention` if the reference abstains.
    """
    in_reply, in_target = _cited(example, fold(reply)), _cited(example, example.target)
    scores = {"token_f1": token_f1(_one_form(reply), _one_form(example.target))}
    if in_target:
        scores["citation_f1"] = citation_f1(in_reply, in_target)
    if _has_articles(example):
        exist = not _unknown(example, in_reply) and (bool(in_reply) or not in_target)
        scores["article_exists"] = float(exist)
    if right := _choice(example, example.target):
        scores["choice_accuracy"] = float(_choice(example, reply) == right)
    if _abstains(example, example.target):
        scores["abstention"] = float(_abstains(example, reply))
    return scores


def citation_f1(in_reply: Sequence[Citation], in_target: Sequence[Citation]) -> float:
    """F1 of citations; a citation is right if it agrees with any of the other side."""
    right = sum(any(a.agrees(b) for b in in_target) for a in in_reply)
    found = sum(any(a.agrees(b) for a in in_reply) for b in in_target)
    if not right:
        return 0.0
    precision, recall = right / len(in_reply), found / len(in_target)
    return 2 * precision * recall / (precision + recall)


def _cited(example: Example, text: str) -> list[Citation]:
    return find_citations(text, example.inputs["laws"])


def _has_articles(example: Example) -> bool:
    return bool(example.inputs["known"] or _cited(example, example.inputs["context"]))


def _unknown(example: Example, citations: Sequence[Citation]) -> list[Citation]:
    """Citations in neither the file nor the context; empty if neither lists an article."""
    read = _cited(example, example.inputs["context"])
    if not read and not example.inputs["known"]:
        return []
    return [
        citation
        for citation in citations
        if not is_known(citation, example.inputs["known"])
        and not any(replace(citation, part="").agrees(article) for article in read)
    ]


def _one_form(text: str) -> str:
    """Normalise the word before an article's number, so that F1 ignores its form."""
    return re.sub(r"\bart(?:[ií]culo)?s?\b\.?", "art", fold(text), flags=re.IGNORECASE)


def _choice(example: Example, text: str) -> str:
    options = options_of(example.inputs["question"])
    return chosen_letter(text, options) if options else ""


def _abstains(example: Example, text: str) -> bool:
    folded = fold(text).casefold()
    return any(phrase in folded for phrase in example.inputs["abstentions"])


def why(example: Example, reply: str, scores: Mapping[str, float]) -> str:
    """What is wrong with the reply; "" if its token F1 is 1."""
    if scores[METRIC] == 1:
        return ""
    if not reply.strip():
        return "empty"
    if _abstains(example, reply) != _abstains(example, example.target):
        return "abstains" if _abstains(example, reply) else "does not abstain"
    in_reply, in_target = _cited(example, fold(reply)), _cited(example, example.target)
    faults = []
    if scores.get("choice_accuracy") == 0:
        right, choice = _choice(example, example.target), _choice(example, reply)
        faults.append(f"chooses {choice or 'none'}, not {right}")
    if unknown := _unknown(example, in_reply):
        faults.append(f"cites {unknown[0]}, which does not exist")
    elif scores.get("citation_f1", 1) < 1:
        faults.append(f"cites {_listed(in_reply)}, not {_listed(in_target)}")
    return "; ".join(faults) or f"token F1 {scores[METRIC]:.2f}"


def _listed(citations: Sequence[Citation]) -> str:
    return ", ".join(map(str, citations[:3])) or "nothing"


def slices(example: Example) -> dict[str, str]:
    """By kind of answer."""
    if _abstains(example, example.target):
        return {"kind": "abstention"}
    return {"kind": "choice" if _choice(example, example.target) else "answer"}
