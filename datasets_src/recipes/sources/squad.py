"""Reads questions on passages from SQuAD JSON (as SQAC's files) or from rows of a table.

next(read_squad(Path("train.json"), key="options.files"))
SquadQuestion(id="6cf3", title="Historia de Soto", context="Biografía \\nElvira …",
              question="¿Dónde …?", answers=("en Soto",))

    {"version": "1.0", "data": [{"title": "…", "paragraphs": [{"context": "…", "qas": [
        {"id": "…", "question": "…", "answers": [{"text": "…", "answer_start": 9}]}]}]}]}
    {"id": "…", "title": "…", "context": "…", "question": "…", "answers": {"text": ["…"], …}}
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_src.errors import UserError
from datasets_src.reading.readers import check_file, read_rows


@dataclass(frozen=True)
class SquadQuestion:
    """A question; `answers` may be empty. Missing texts are "" and named by `fault`."""

    id: str
    title: str
    context: str
    question: str
    answers: tuple[str, ...]

    @property
    def fault(self) -> str:
        """The missing texts, e.g. "no context"; "" if complete."""
        missing = [name for name in ("context", "question") if not getattr(self, name).strip()]
        return f"no {' and no '.join(missing)}" if missing else ""


def read_squad(path: Path, *, key: str) -> Iterator[SquadQuestion]:
    """The questions in file order, from either format.

    Raises:
        UserError: the file is missing, unreadable, or in neither format.
    """
    check_file(path, key)
    nested = _nested(path) if path.suffix.lower() == ".json" else None
    if nested is None:
        for number, row in enumerate(read_rows(path, key=key), start=1):
            yield _question(row, row, default_id=f"{path.stem}:{number}")
        return
    number = 0
    try:
        for article in nested:
            for paragraph in article["paragraphs"]:
                for qa in paragraph["qas"]:
                    number += 1
                    shared = {"title": article.get("title"), "context": paragraph.get("context")}
                    yield _question(qa, shared, default_id=f"{path.stem}:{number}")
    except (LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{key}: {path}: not SQuAD's JSON after question {number} ({error!r}); write"
            ' {"data": [{"title": …, "paragraphs": [{"context": …, "qas": […]}]}]}'
        ) from None


def _nested(path: Path) -> list[Any] | None:
    """The `data` list of SQuAD JSON; None for other files, which read_rows reads or rejects."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    data = value.get("data") if isinstance(value, dict) else None
    has_paragraphs = isinstance(data, list) and any(
        isinstance(article, dict) and "paragraphs" in article for article in data
    )
    return data if has_paragraphs else None


def _question(
    qa: Mapping[str, Any], shared: Mapping[str, Any], *, default_id: str
) -> SquadQuestion:
    return SquadQuestion(
        id=str(qa.get("id") or default_id),
        title=str(shared.get("title") or "").strip(),
        context=str(shared.get("context") or ""),
        question=" ".join(str(qa.get("question") or "").split()),
        answers=tuple(_answers(qa.get("answers"))),
    )


def _answers(value: Any) -> Iterator[str]:
    """Texts of [{"text": "…"}], of {"text": ["…"]}, or of the latter as a JSON string."""
    if isinstance(value, str):
        value = json.loads(value) if value.lstrip().startswith(("{", "[")) else []
    if isinstance(value, Mapping):
        texts = value.get("text", ())
        yield from (str(text) for text in ([texts] if isinstance(texts, str) else texts))
    elif isinstance(value, list):
        yield from (str(item["text"]) for item in value if isinstance(item, Mapping))
