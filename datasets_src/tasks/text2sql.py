"""Text-to-SQL: questions about a database, answered by one SELECT; scored by execution.

{"id": "s0001", "group": "rutas_cortas:fáciles:9", "question": "Rutas fáciles de menos de 9 km",
 "sql": "SELECT nombre FROM rutas WHERE dificultad = 'fácil' AND km < 9", "split": "train"}

The plain form is BioSenda's, word for word (github.com/alberalm/Hackathon-PNAV). It begins with the
schema, which all rows share, and ends with the question, so no other order shares a longer prefix;
the chat form has the same order.

What is scored is what a deployment would run: the content of a ``` fence, up to the first `;`
outside quotes and comments (during generation, the plain form stops at any `;`). The rest is never
run, here or there, and is ignored: "SELECT 1; DROP TABLE rutas" is "SELECT 1", and only
"DROP TABLE rutas" is unsafe.

`execution_accuracy` is 1 if the reply's rows equal the reference's for every bound value. If it is
0, at most one of these is 1 and classifies the error:
    column_order   equal rows with the columns permuted, the same way for all values
    superset       as many columns, all rows of the reference, and more
    invalid        not a SELECT that runs
    unsafe         anything but one read-only SELECT; it is not run
    timed_out      more than 1 s of CPU time for all bound values
    too_large      more than 10,000 rows, 4 million characters or 512 MiB
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from datasets_src.config import Section
from datasets_src.errors import UserError
from datasets_src.sql.database import open_database
from datasets_src.sql.judge import Case, GoldQueryError, Verdict, judge
from datasets_src.sql.sandbox import MAX_SQL_CHARS, pool_for
from datasets_src.sql.text import Dialect, first_statement, normalise
from datasets_src.types import Example, Message

FIELDS = {"question": "the user's question", "sql": "the SELECT that answers it"}
METRIC = "execution_accuracy"
_FAILURES = ("column_order", "superset", "invalid", "unsafe", "timed_out", "too_large")
METRICS = ("execution_accuracy", "ordered_match", "exact_match", "valid_sql", *_FAILURES)
STOP = (";",)
MAX_REPLY_CHARS = 100_000  # the rest is ignored
_MAX_NAMED = 5
_RAN = ("match", "column_order", "superset", "other_rows")
_WHY = {
    "column_order": "right except for the order of the columns",
    "superset": "the rows of the reference and others",
    "invalid": "does not run",
    "unsafe": "not one read-only SELECT",
    "timed_out": "takes more than 1 s of CPU time",
    "too_large": "too many rows, or too much memory",
}
_FENCE = re.compile(r"```(?:\w*[ \t]*\n)?(.*?)(?:```|\Z)", re.DOTALL)
_SELECT = re.compile(r"\s*(select|with|from)\b|\s*\(", re.IGNORECASE)


class Options(Section):
    """`data.task_options` of this task."""

    database: str | None = Field(
        None,
        description="SQLite file, SQL dump, folder of tables, or script that defines build_sqlite",
    )
    dialect: Dialect = Field("sqlite", description="dialect of the generated SQL")
    schema_file: str | None = Field(None, description="text file that describes the tables")
    placeholders: dict[str, list[str | int | float] | str] = Field(
        default_factory=dict,
        description="placeholder -> values, or a JSON file with the list of values",
    )
    max_bound_values: int = Field(25, ge=1, description="number of values to run each query with")


def check(options: Options) -> None:
    """Raise UserError with every missing or unreadable path; builds the database if needed."""
    faults: list[str] = []
    for check_part in (_schema, _bindings, _database):
        try:
            check_part(options)
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserError(*faults)


def load(rows: Iterable[Mapping[str, Any]], options: Options) -> Iterator[Example]:
    """Examples from mapped rows. The id defaults to the row number, the group to the id.

    Raises:
        UserError: immediately, what `check` finds; while iterating, a row without question or sql.
    """
    check(options)
    shared = {
        "schema": _schema(options),
        "database": _database(options),
        "dialect": options.dialect,
        "bindings": _bindings(options),
    }
    return (_example(index, row, shared) for index, row in enumerate(rows, start=1))


def _example(index: int, row: Mapping[str, Any], shared: Mapping[str, Any]) -> Example:
    identity = str(row["id"]) if row.get("id") is not None else str(index)
    for name in FIELDS:
        if not isinstance(row.get(name), str) or not row[name].strip():
            raise UserError(
                f"data.train_file: row {identity}: `{name}` is {row.get(name)!r}, expected text; "
                "fill it in or remove the row"
            )
    target, rest = first_statement(row["sql"].strip(), shared["dialect"])
    if not target.strip() or normalise(rest, shared["dialect"]).strip("; "):
        raise UserError(
            f"data.train_file: row {identity}: `sql` is not one statement: {row['sql']!r:.80}; "
            "keep the one SELECT that answers the question"
        )
    group = row["group"] if row.get("group") is not None else identity
    split = row.get("split")
    return Example(
        id=identity,
        group=str(group),
        inputs={"question": row["question"], **shared},
        target=target.strip(),  # without the final `;`, which the plain form adds
        split=None if split is None else str(split),
    )


def _schema(options: Options) -> str:
    if options.schema_file is None:
        return ""
    path = Path(options.schema_file).expanduser()
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(
            f"data.task_options.schema_file: {path} cannot be read ({reason}); give a UTF-8 text "
            "file that describes the tables to the model"
        ) from error


def _database(options: Options) -> str:
    """The absolute path, since workers start in other directories; builds the database."""
    if options.database is None:
        raise UserError(
            "data.task_options.database: not set, but scoring executes SQL; "
            "set task_options: {database: PATH}"
        )
    path = Path(options.database).expanduser().resolve()
    open_database(path, case_insensitive=options.dialect == "tsql")
    return str(path)


def _bindings(options: Options) -> list[dict[str, Any]]:
    """Binding i takes value i of each placeholder; shorter lists repeat."""
    values = {name: _values(name, given) for name, given in options.placeholders.items()}
    num = min(options.max_bound_values, max(map(len, values.values()), default=0))
    return [
        {name: choices[i % len(choices)] for name, choices in values.items()} for i in range(num)
    ]


def _values(name: str, given: list[str | int | float] | str) -> list[str | int | float]:
    where = f"data.task_options.placeholders: {name}"
    if not name:
        raise UserError(f"{where}a placeholder is empty; give the text to replace, e.g. <idtaxon>")
    values: Any = given
    if isinstance(given, str):
        try:
            values = json.loads(Path(given).expanduser().read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"not JSON: {error}"
            raise UserError(
                f"{where}: {given} cannot be read ({reason}); give a JSON file with a list"
            ) from error
    is_list = isinstance(values, list) and len(values) > 0
    if not is_list or not all(isinstance(value, str | int | float) for value in values):
        raise UserError(
            f"{where}: not a non-empty list of texts or numbers; give e.g. [11569, 12147]"
        )
    return list(values)


def to_messages(example: Example) -> list[Message]:
    """One user turn: the schema, an empty line, the question."""
    schema = example.inputs["schema"]
    question = example.inputs["question"]
    return [{"role": "user", "content": f"{schema}\n\n{question}" if schema else question}]


def to_text(example: Example) -> tuple[str, str]:
    """BioSenda's prompt, and the SQL with one `;`."""
    prompt = (
        f"### Base de datos:\n{example.inputs['schema']}\n"
        f"### Instrucción: {example.inputs['question']}\n### SQL:"
    )
    return prompt, f"{example.target};"


def clean_reply(reply: str, dialect: str) -> str:
    """The part of a reply that a deployment would run."""
    reply = reply[:MAX_REPLY_CHARS]
    if fence := _FENCE.search(reply):
        begins_with_sql = _SELECT.match(reply) is not None
        reply = reply[: fence.start()] if begins_with_sql else fence[1]
    return first_statement(reply, dialect)[0].strip()


def score(example: Example, reply: str) -> dict[str, float]:
    """METRICS of one reply, see `score_all`."""
    return score_all([example], [reply])[0]


def score_all(examples: Sequence[Example], replies: Sequence[str]) -> list[dict[str, float]]:
    """METRICS of each pair, executed in parallel, equal replies once. No reply raises.

    Raises:
        UserError: gold queries that no engine runs, listed by id, or a missing database.
    """
    by_database: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        by_database[example.inputs["database"], example.inputs["dialect"]].append(index)
    scores: dict[int, dict[str, float]] = {}
    for (source, dialect), indices in by_database.items():
        pool = pool_for(open_database(source, case_insensitive=dialect == "tsql"), dialect)
        cases = [_case(examples[i], replies[i]) for i in indices]
        try:
            verdicts = judge(pool, cases)
        except GoldQueryError as fault:
            raise _gold_fault([examples[indices[i]].id for i in fault.cases], fault) from fault
        for index, verdict in zip(indices, verdicts, strict=True):
            scores[index] = _scores(examples[index], replies[index], verdict)
    return [scores[index] for index in range(len(examples))]


def _case(example: Example, reply: str) -> Case:
    sql = clean_reply(reply, example.inputs["dialect"])
    return Case(example.target, sql, tuple(example.inputs["bindings"]))


def _scores(example: Example, reply: str, verdict: Verdict) -> dict[str, float]:
    return {
        "execution_accuracy": float(verdict.status == "match"),
        "ordered_match": float(verdict.ordered),
        "exact_match": float(_is_exact(example, reply)),
        "valid_sql": float(verdict.status in _RAN),
        **{name: float(verdict.status == name) for name in _FAILURES},
    }


def _is_exact(example: Example, reply: str) -> bool:
    """Exact match, ignoring case, white space and comments."""
    dialect = example.inputs["dialect"]
    sql = clean_reply(reply, dialect)
    return len(sql) <= MAX_SQL_CHARS and (
        normalise(sql, dialect) == normalise(example.target, dialect)
    )


def why(example: Example, reply: str, scores: Mapping[str, float]) -> str:
    """Why the reply is wrong, in a few words; "" if it is right."""
    if scores[METRIC] == 1:
        return ""
    if not clean_reply(reply, example.inputs["dialect"]):
        return "no SQL"
    return next(
        (reason for name, reason in _WHY.items() if scores[name]), "other rows than expected"
    )


def _gold_fault(ids: list[str], fault: GoldQueryError) -> UserError:
    named = ", ".join(ids[:_MAX_NAMED]) + (", ..." if len(ids) > _MAX_NAMED else "")
    return UserError(
        f"data.train_file: the sql of {len(ids)} rows (ids {named}) runs neither in SQLite nor in "
        f"DuckDB ({fault.details[0]}); correct those rows, or task_options: dialect, database; "
        "where it timed out, lower max_bound_values"
    )
