"""Questions over a database, answered by one SELECT; scored by running it.

{"id": "s0001", "group": "rutas_cortas:fáciles:9", "question": "Rutas fáciles de menos de 9 km",
 "sql": "SELECT nombre FROM rutas WHERE dificultad = 'fácil' AND km < 9", "split": "train"}

The plain form is BioSenda's (github.com/alberalm/Hackathon-PNAV), cut at the first `;`. A reply in
a ``` fence counts as what the fence holds.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from datasets_src.config import Section
from datasets_src.errors import UserError
from datasets_src.sql.database import open_database
from datasets_src.sql.judge import Case, GoldFault, Verdict, judge
from datasets_src.sql.sandbox import pool_for
from datasets_src.types import Example, Message

FIELDS = {"question": "what the user asks", "sql": "the query that answers it"}
METRIC = "execution_accuracy"
METRICS = ("execution_accuracy", "ordered_match", "exact_match", "valid_sql")
STOP = (";",)
_MAX_NAMED = 5


class Options(Section):
    """`data.task_options` of this task."""

    database: str | None = Field(
        None, description="SQLite file, SQL dump, folder of tables, or script with build_sqlite"
    )
    dialect: Literal["sqlite", "tsql", "duckdb", "postgres"] = Field(
        "sqlite", description="dialect of the SQL that the model writes"
    )
    schema_file: str | None = Field(None, description="text of the prompt that says what tables")
    placeholders: dict[str, list[str | int | float] | str] = Field(
        default_factory=dict, description="placeholder -> values, or a JSON file that lists them"
    )
    max_bound_values: int = Field(5, ge=1, description="values tried for each placeholder")


def check(options: Options) -> None:
    """Raise UserError for every path that is missing or broken; builds the database once."""
    faults: list[str] = []
    for look in (_schema, _bindings, _database):
        try:
            look(options)
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserError(*faults)


def load(rows: Iterable[Mapping[str, Any]], options: Options) -> Iterator[Example]:
    """Examples of mapped rows. A row without id or group gets its number and its id.

    UserError, at once: what `check` finds; on the way: a row without question or sql.
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
                f"data.train_file: row {identity}: `{name}` is {row.get(name)!r}, not a text; "
                "fill it in or remove the row"
            )
    group = row["group"] if row.get("group") is not None else identity
    split = row.get("split")
    return Example(
        id=identity,
        group=str(group),
        inputs={"question": row["question"], **shared},
        target=_one_statement(row["sql"]),
        split=None if split is None else str(split),
    )


def _one_statement(sql: str) -> str:
    """Without the closing `;`, which the plain form adds itself."""
    return sql.strip().rstrip("; \n\t\r")


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
            "file with the tables as the model shall see them"
        ) from error


def _database(options: Options) -> str:
    """The absolute path, built; workers start in other directories."""
    if options.database is None:
        raise UserError(
            "data.task_options.database: not set, so no reply can be scored; "
            "set task_options: {database: PATH}"
        )
    path = Path(options.database).expanduser().resolve()
    open_database(path, case_insensitive=options.dialect == "tsql")
    return str(path)


def _bindings(options: Options) -> list[dict[str, Any]]:
    """The i-th binding takes the i-th value of each placeholder; shorter lists repeat."""
    values = {name: _values(name, given) for name, given in options.placeholders.items()}
    num = min(options.max_bound_values, max(map(len, values.values()), default=0))
    return [{name: list_[i % len(list_)] for name, list_ in values.items()} for i in range(num)]


def _values(name: str, given: list[str | int | float] | str) -> list[str | int | float]:
    where = f"data.task_options.placeholders: {name}"
    if not name:
        raise UserError(f"{where}a placeholder is empty; name the text to replace, e.g. <idtaxon>")
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
        raise UserError(f"{where}: not a list of texts or numbers; give e.g. [11569, 12147]")
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


def clean_reply(reply: str) -> str:
    """The SQL of a reply: what a ``` fence holds, without the closing `;`."""
    fence = re.search(r"```(?:\w*\n)?(.*?)(?:```|\Z)", reply, re.DOTALL)
    return _one_statement(fence.group(1) if fence else reply)


def normalise_sql(sql: str) -> str:
    """Case and white space outside of quotes do not count, nor the closing `;`."""
    pieces = re.split(r"('(?:[^']|'')*'|\"[^\"]*\")", _one_statement(sql))
    for i in range(0, len(pieces), 2):
        text = re.sub(r"\s+", " ", pieces[i].lower())
        pieces[i] = re.sub(r"\s*([(),=<>+*/-])\s*", r"\1", text)
    return "".join(pieces).strip()


def score(example: Example, reply: str) -> dict[str, float]:
    """All of METRICS for one reply; see `score_all`."""
    return score_all([example], [reply])[0]


def score_all(examples: Sequence[Example], replies: Sequence[str]) -> list[dict[str, float]]:
    """METRICS for each pair, run in parallel, equal replies once. Never raises on a reply.

    UserError: gold queries that run in no engine, named by id, or a database that is gone.
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
        except GoldFault as fault:
            raise _gold_fault([examples[indices[i]].id for i in fault.cases], fault) from fault
        for index, verdict in zip(indices, verdicts, strict=True):
            scores[index] = _scores(examples[index], replies[index], verdict)
    return [scores[index] for index in range(len(examples))]


def _case(example: Example, reply: str) -> Case:
    return Case(example.target, clean_reply(reply), tuple(example.inputs["bindings"]))


def _scores(example: Example, reply: str, verdict: Verdict) -> dict[str, float]:
    exact = normalise_sql(clean_reply(reply)) == normalise_sql(example.target)
    return {
        "execution_accuracy": float(verdict.match),
        "ordered_match": float(verdict.ordered),
        "exact_match": float(exact),
        "valid_sql": float(verdict.valid),
    }


def why(example: Example, reply: str, scores: Mapping[str, float]) -> str:
    """Why `execution_accuracy` is not 1, in a few words."""
    if scores[METRIC] == 1:
        return ""
    return "other rows than the reference" if scores["valid_sql"] else "not valid SQL"


def _gold_fault(ids: list[str], fault: GoldFault) -> UserError:
    named = ", ".join(ids[:_MAX_NAMED]) + (", ..." if len(ids) > _MAX_NAMED else "")
    return UserError(
        f"data.train_file: the sql of {len(ids)} rows (ids {named}) runs neither in SQLite nor in "
        f"DuckDB ({fault.details[0]}); correct those rows, or task_options: dialect, database"
    )
