"""Questions on passages in SQuAD's JSON, as SQAC's files have it, or as rows of a table.

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
    """A question; `answers` may be none. What a file lacks is "": `fault` names it."""

    id: str
    title: str
    context: str
    question: str
    answers: tuple[str, ...]

    @property
    def fault(self) -> str:
        """Which of its texts is missing; "" for a whole one."""
        missing = [name for name in ("context", "question") if not getattr(self, name).strip()]
        return f"no {' and no '.join(missing)}" if missing else ""


def read_squad(path: Path, *, key: str) -> Iterator[SquadQuestion]:
    """Its questions in the order of the file, whichever of the two forms it has.

    Raises:
        UserError: missing, unreadable, not JSON, or JSON of another form.
    """
    check_file(path, key)
    nested = _nested(path) if path.suffix.lower() == ".json" else None
    if nested is None:
        for number, row in enumerate(read_rows(path, key=key), start=1):
            yield _asked(row, row, default_id=f"{path.stem}:{number}")
        return
    number = 0
    try:
        for article in nested:
            for paragraph in article["paragraphs"]:
                for qa in paragraph["qas"]:
                    number += 1
                    shared = {"title": article.get("title"), "context": paragraph.get("context")}
                    yield _asked(qa, shared, default_id=f"{path.stem}:{number}")
    except (LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{key}: {path}: not SQuAD's JSON behind question {number} ({error!r}); write"
            ' {"data": [{"title": …, "paragraphs": [{"context": …, "qas": […]}]}]}'
        ) from None


def _nested(path: Path) -> list[Any] | None:
    """`data` of SQuAD's form; None of another, which read_rows knows or refuses."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    data = value.get("data") if isinstance(value, dict) else None
    has_paragraphs = isinstance(data, list) and any(
        isinstance(article, dict) and "paragraphs" in article for article in data
    )
    return data if has_paragraphs else None


def _asked(qa: Mapping[str, Any], shared: Mapping[str, Any], *, default_id: str) -> SquadQuestion:
    return SquadQuestion(
        id=str(qa.get("id") or default_id),
        title=str(shared.get("title") or "").strip(),
        context=str(shared.get("context") or ""),
        question=" ".join(str(qa.get("question") or "").split()),
        answers=tuple(_answers(qa.get("answers"))),
    )


def _answers(value: Any) -> Iterator[str]:
    """Texts of [{"text": "…"}], of {"text": ["…"]}, or of the latter as JSON."""
    if isinstance(value, str):
        value = json.loads(value) if value.lstrip().startswith(("{", "[")) else []
    if isinstance(value, Mapping):
        texts = value.get("text", ())
        yield from (str(text) for text in ([texts] if isinstance(texts, str) else texts))
    elif isinstance(value, list):
        yield from (str(item["text"]) for item in value if isinstance(item, Mapping))
