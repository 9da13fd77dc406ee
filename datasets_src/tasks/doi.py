"""Questions answered by the DOIs of articles; scored by comparing normalised DOIs.

{"id": "d0001", "group": "e14", "question": "¿Qué se ha publicado sobre la cría del alcotán?",
 "context": "Cría del alcotán en Monteviejo: 10.5555/zoo.2023.935\\nGenética de la nutria en …",
 "dois": ["10.5555/zoo.2023.935"], "split": "train"}

`dois` is a list or a text; empty or "not found" means that no article answers. `answer_from` sets
what is learnt, and with it what is held out:

context   Selecting among retrieved works in the prompt, as in the retrieval variants of
          github.com/jordieres/LLM-FineTuning_GDJF_2024. This generalises to unseen articles, so
          the split is by `group`: the articles that a row is about.
memory    Recalling DOIs from the question alone, as in their fine-tuning. An article absent from
          training cannot be recalled, so a split by articles measures nothing: articles are on
          both sides, each row is a group, a split column is ignored, and wordings are held out.

The rows in datasets_src/shipped/biblioteca support both. jobs/configs/doi.yaml uses memory: in its
minute of training the pocket model memorises a hundred subjects but does not learn to select.

`doi_exact` chooses the checkpoint: by `doi_f1` a reply that lists the whole context scores nearly
half. A reply without a DOI is right only if there is none to give and it says so in words; an empty
reply does not count as abstention.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from datasets_src.config import Section
from datasets_src.errors import UserError
from datasets_src.text.answerable import content_words, is_in
from datasets_src.text.dois import Found, find_dois
from datasets_src.types import Example, Message

FIELDS = {
    "question": "the user's question",
    "context": "the works to choose from, a text or a list of texts (unused for memory)",
    "dois": "the DOIs that answer, a list or a text; empty or `not found` if none does",
}
METRIC = "doi_exact"
METRICS = ("doi_exact", "doi_f1", "well_formed", "no_invented", "abstention", "answered")
STOP = ("\n",)

NOT_FOUND = {
    "authors": "not found",
    "spanish": "No se ha encontrado ningún artículo",
    "bare": "not found",
}
_ONE_OR_MORE = {
    "authors": (
        "A scientific article regarding those subjects can be found with the DOI ",
        "Scientific articles regarding those subjects can be found with the DOIs ",
    ),
    "spanish": (
        "Un artículo científico sobre esos temas se encuentra con el DOI ",
        "Unos artículos científicos sobre esos temas se encuentran con los DOI ",
    ),
    "bare": ("", ""),
}
# Phrases of abstention in English, Spanish and Catalan.
_ABSTAINS = re.compile(
    r"\b(not (be )?found|(can|could)(no| no|')t find|no (article|paper|work|doi|result)|nothing|"
    r"none\b|(don't|do not) know|no (se )?(ha|he|hay|encontr|consta|existe|aparece|lo sé|hi ha)|"
    r"no (s'ha|ho sé|en sé)|ning[uú]n|desconozco|sin resultados|cap (article|treball|resultat))",
    re.IGNORECASE,
)


class Options(Section):
    """`data.task_options` of this task."""

    answer_from: Literal["context", "memory"] = Field(
        "context", description="select among the works in the prompt, or recall from memory"
    )
    answer_form: Literal["authors", "spanish", "bare"] = Field(
        "authors", description="target: an English sentence, a Spanish one, or only the DOIs"
    )
    field_order: Literal["authors", "shared_first"] = Field(
        "authors", description="question, then works; shared_first: works first, computed once"
    )
    known_file: str | None = Field(
        None, description="text file with all existing DOIs; default: those in the context"
    )
    require_overlap: bool = Field(
        True,
        description="reject a row with an answer whose question shares no word with its context",
    )


def check(options: Options) -> None:
    """Raise UserError if `known_file` cannot be read or has no DOI."""
    if options.known_file is not None:
        _known_in(options.known_file)


def load(rows: Iterable[Mapping[str, Any]], options: Options) -> Iterator[Example]:
    """Examples from mapped rows.

    Raises:
        UserError: immediately, what `check` finds; while iterating, a row without a question, with
            invalid DOIs, with a DOI that its context lacks, or with another row's question.
    """
    check(options)
    return (_example(row, options) for row in rows)


def _example(row: Mapping[str, Any], options: Options) -> Example:
    where = f"data.train_file: row {row['id']}"
    question, context = _text(row["question"]), _text(row["context"])
    dois = _reference(row["dois"], where)
    if fault := _fault(question, context, dois, options):
        raise UserError(f"{where}: {fault}")
    memory = options.answer_from == "memory"
    known = options.known_file and str(Path(options.known_file).expanduser().resolve())
    return Example(
        id=row["id"],
        group=row["id"] if memory else row["group"],
        inputs={
            "question": question,
            "context": "" if memory else context,
            "dois": dois,
            "known_file": known,
            "field_order": options.field_order,
        },
        target=_answer(dois, options.answer_form),
        split=None if memory else row.get("split"),
    )


def _fault(question: str, context: str, dois: list[str], options: Options) -> str:
    """What is wrong with a row and how to fix it; "" if nothing is."""
    if not question:
        return "`question` is empty; fill it in or remove the row"
    lost = set(dois) - set(find_dois(context).dois)
    if context and lost and options.answer_from == "context":
        return (
            f"{min(lost)} is not in the context, so the model would learn to invent it; add it "
            "there, or set task_options: {answer_from: memory}"
        )
    if dois and context and options.require_overlap and not _overlap(question, context):
        return (
            f"the question shares no word with its context, so it may belong to another row: "
            f"{question[:60]!r}; correct it, or set task_options: {{require_overlap: false}}"
        )
    return ""


def _overlap(question: str, context: str) -> bool:
    """Whether they share a content word.

    Of 1,601 questions from the authors' converter, none was about its own row.
    """
    return any(is_in(word, context) for word in content_words(question))


def _text(value: Any) -> str:
    """A text, or a list of texts joined by line breaks."""
    return "\n".join(map(str, value)).strip() if isinstance(value, list) else str(value).strip()


def _reference(value: Any, where: str) -> list[str]:
    text = _text(value)
    found = find_dois(text)
    if found.num_malformed or (text and not found.dois and not _ABSTAINS.search(text)):
        raise UserError(
            f"{where}: `dois` is {text!r}, not only DOIs (10.NNNN/suffix); correct it, or write "
            "`not found`"
        )
    return list(found.dois)


def _answer(dois: list[str], form: str) -> str:
    one, more = _ONE_OR_MORE[form]
    return (one if len(dois) == 1 else more) + ", ".join(dois) if dois else NOT_FOUND[form]


def to_messages(example: Example) -> list[Message]:
    """One user turn: the question and, with `answer_from: context`, the works."""
    question, context = example.inputs["question"], example.inputs["context"]
    parts = (
        [question, context] if example.inputs["field_order"] == "authors" else [context, question]
    )
    return [{"role": "user", "content": "\n\n".join(part for part in parts if part)}]


def to_text(example: Example) -> tuple[str, str]:
    """The same fields under headings, and the answer on one line."""
    headed = {"### Question:": example.inputs["question"], "### Works:": example.inputs["context"]}
    parts = [f"{head}\n{text}\n" for head, text in headed.items() if text]
    if example.inputs["field_order"] == "shared_first":
        parts.reverse()
    return "".join(parts) + "### Answer:", f" {example.target}\n"


def score(example: Example, reply: str) -> dict[str, float]:
    """The METRICS that apply: `doi_exact` and `doi_f1` always, and

    well_formed   if the reply claims a DOI: whether each is 10.NNNN/suffix
    no_invented   if it gives one and the existing ones are known: the share that exists
    abstention    if no DOI answers: whether the reply says so
    answered      if a DOI answers: whether the reply gives any
    """
    found, expected = find_dois(reply), set(example.inputs["dois"])
    given = set(found.dois)
    scores = {}
    if expected:
        scores["answered"] = float(bool(given))
        scores["doi_f1"] = 2 * len(given & expected) / (len(given) + len(expected))
        scores["doi_exact"] = float(given == expected and not found.num_malformed)
    else:
        right = float(_abstains(reply, found))
        scores |= {"abstention": right, "doi_f1": right, "doi_exact": right}
    if given or found.num_malformed:
        scores["well_formed"] = float(not found.num_malformed)
    if given and (known := _known(example)):
        scores["no_invented"] = len(given & known) / len(given)
    return scores


def why(example: Example, reply: str, scores: Mapping[str, float]) -> str:
    """Why `doi_exact` is below 1, in a few words; "" if it is 1."""
    if scores["doi_exact"] == 1:
        return ""
    found, expected = find_dois(reply), set(example.inputs["dois"])
    given = set(found.dois)
    if not expected:
        return f"gives {len(given)} DOIs where none answers" if given else "does not say none"
    if not given and not found.num_malformed:
        return "abstains" if _abstains(reply, found) else "no DOI"
    faults = {
        f"{len(expected - given)} of {len(expected)} DOIs missing": expected - given,
        f"{len(given - expected)} wrong ones": given - expected,
        f"{found.num_malformed} malformed": found.num_malformed,
    }
    return ", ".join(text for text, there in faults.items() if there)


def slices(example: Example) -> dict[str, str]:
    """By the number of DOIs that answer."""
    return {"answer": ("none", "one", "several")[min(2, len(example.inputs["dois"]))]}


def _abstains(reply: str, found: Found) -> bool:
    return not found.dois and not found.num_malformed and bool(_ABSTAINS.search(reply))


def _known(example: Example) -> frozenset[str]:
    if example.inputs["known_file"] is not None:
        return _known_in(example.inputs["known_file"])
    return frozenset(find_dois(example.inputs["context"]).dois)


@lru_cache(maxsize=4)
def _known_in(file: str) -> frozenset[str]:
    """All DOIs found in a text file of any format."""
    key, path = "data.task_options.known_file", Path(file).expanduser()
    try:
        known = frozenset(find_dois(path.read_text(encoding="utf-8")).dois)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(
            f"{key}: {path} cannot be read ({reason}); give a UTF-8 text file"
        ) from error
    if not known:
        raise UserError(f"{key}: {path} has no DOI; give e.g. a text file with one per line")
    return known
