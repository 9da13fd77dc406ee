"""Replies side by side: one row a validation row, one column for the base and each checkpoint.

    id  inputs            target               untuned base                  step 140
    7   ¿Cuántas rutas?   SELECT COUNT(*) ...  ✗ other rows: SELECT Null     ✓ SELECT COUNT(*) ...

A reply that a row repeats is written once and the other cells point at it (`Cell.same_as`).
"""

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from trainers.report.records import Records, Row, label_of, step_of
from trainers.report.scores import chosen_name, main_metric, words
from trainers.run.scores import MODEL_BASELINES

MAX_CHARS = 1_300_000  # of cells: keeps the page under 2 MB
MAX_INPUT_CHARS = 400
MIN_LIKENESS = 0.4  # below this share of equal tokens, marking differences marks everything
TOKEN = re.compile(r"\w+|\s+|[^\w\s]")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Cell:
    """One reply. `key` numbers the distinct replies of its row; `right` None = not scored.

    `why` says what is wrong with it.
    """

    key: int
    right: bool | None
    html: Markup
    same_as: str | None = None
    why: str = ""


@dataclass(frozen=True)
class ReplyRow:
    """One validation row: its inputs as (name, text), and a cell (or None) per column."""

    id: str
    group: str
    inputs: list[tuple[str, str]]
    target: str
    cells: list[Cell | None]


@dataclass(frozen=True)
class ReplyTable:
    """`chosen` is the index of the chosen column; `num_rows` counts also the rows left out."""

    columns: list[str]
    chosen: int
    rows: list[ReplyRow]
    num_rows: int


def reply_table(records: Records) -> ReplyTable | None:
    """The table of all replies, or None where nothing was generated yet."""
    names = [
        name for name in records.predictions if name in MODEL_BASELINES or step_of(name) is not None
    ]
    by_id = {name: {row["id"]: row for row in records.predictions[name]} for name in names}
    ids = dict.fromkeys(row_id for name in names for row_id in by_id[name])
    if not ids:
        return None
    rows, num_chars, metric = [], 0, main_metric(records)
    for row_id in ids:
        row = _reply_row([by_id[name].get(row_id) for name in names], names, metric)
        num_chars += _num_chars(row)
        if num_chars > MAX_CHARS:
            break
        rows.append(row)
    best = chosen_name(records)
    chosen = names.index(best) if best in names else len(names) - 1
    return ReplyTable([label_of(name) for name in names], chosen, rows, len(ids))


def visible(text: str) -> str:
    """`text` with control characters as their pictures: NUL as ␀, DEL as ␡."""
    return CONTROL.sub(lambda m: "\u2421" if m[0] == "\x7f" else chr(0x2400 + ord(m[0])), text)


def marked(reply: str, target: str) -> Markup:
    """The reply, its tokens that the target lacks in <mark>, a caret where tokens are missing.

    Token = word, white space or one other character; case is not a difference. A reply that is
    nothing like the target stays unmarked.
    """
    ours, theirs = TOKEN.findall(reply), TOKEN.findall(target)
    matcher = difflib.SequenceMatcher(
        None, [token.lower() for token in theirs], [token.lower() for token in ours], autojunk=False
    )
    if matcher.ratio() < MIN_LIKENESS:
        return escape(reply)
    parts = [
        _difference("".join(theirs[t0:t1]), "".join(ours[o0:o1]), equal=kind == "equal")
        for kind, t0, t1, o0, o1 in matcher.get_opcodes()
    ]
    return Markup("").join(parts)


def _difference(target: str, reply: str, *, equal: bool) -> Markup:
    if equal:
        return escape(reply)
    if reply:
        return Markup("<mark>{}</mark>").format(reply)
    return Markup('<i class="gap" title="missing: {}"></i>').format(target.strip() or "a space")


def _reply_row(found: list[Row | None], names: list[str], metric: str) -> ReplyRow:
    first = next(row for row in found if row is not None)
    target = visible(str(first["target"]))
    seen: dict[tuple[str, Any, Any], tuple[int, str]] = {}
    cells: list[Cell | None] = []
    for name, row in zip(names, found, strict=True):
        if row is None:
            cells.append(None)
            continue
        right, why = _is_right(row, metric), visible(str(row.get("why", "")))
        identity = (row["reply"], right, row.get("stopped"))
        key, source = seen.setdefault(identity, (len(seen), name))
        if source == name:
            cells.append(Cell(key, right, _reply_html(row, target, right), why=why))
        else:
            cells.append(Cell(key, right, Markup(""), label_of(source), why))
    inputs = _inputs(first.get("inputs") or {})
    return ReplyRow(str(first["id"]), str(first.get("group", "")), inputs, target, cells)


def _is_right(row: Row, metric: str) -> bool | None:
    """As the task says; of rows without its word, by the metric that chooses."""
    if "why" in row:
        return not row["why"]
    value = row.get("scores", {}).get(metric)
    return None if value is None else bool(value >= 1)


def _reply_html(row: Row, target: str, right: bool | None) -> Markup:
    reply = visible(str(row["reply"]))
    body = marked(reply, target) if right is False else escape(reply)
    if not reply:
        body = Markup("<em>empty reply</em>")
    scores = ", ".join(f"{words(name)} {value:g}" for name, value in row.get("scores", {}).items())
    why = Markup('<p class="why">{}</p>').format(visible(row["why"])) if row.get("why") else ""
    parts = [verdict_html(right, scores), why, Markup('<div class="r">{}</div>').format(body)]
    if row.get("stopped") is False:
        text = f"cut at {row['num_tokens']:,} tokens" if "num_tokens" in row else "cut"
        parts.append(Markup('<p class="cut">{}</p>').format(text))
    return Markup("").join(parts)


def verdict_html(right: bool | None, title: str = "") -> Markup:
    """✓ right or ✗ wrong, in words, so that colour is not the only sign."""
    text = {True: "✓ right", False: "✗ wrong", None: "not scored"}[right]
    attribute = Markup(' title="{}"').format(title) if title else ""
    return Markup("<b{}>{}</b>").format(attribute, text)


def _inputs(inputs: Mapping[str, Any]) -> list[tuple[str, str]]:
    texts = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in inputs.items()
        if value not in (None, "", [], {})
    }
    return [(words(name), _short(visible(text))) for name, text in texts.items()]


def _short(text: str) -> str:
    return text if len(text) <= MAX_INPUT_CHARS else text[: MAX_INPUT_CHARS - 1].rstrip() + "…"


def _num_chars(row: ReplyRow) -> int:
    cells = sum(len(cell.html) + len(cell.why) + 80 for cell in row.cells if cell is not None)
    return cells + len(row.target) + sum(len(text) for _, text in row.inputs) + 200
