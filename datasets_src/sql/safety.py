"""Accepts one read-only SELECT and rejects everything else before it runs.

parse_select("SELECT 1", "tsql") -> its tree
parse_select("DROP TABLE rutas", "tsql") raises QueryRejected with status "unsafe"

This is the first of three layers of defence: the engines are also opened read-only with an
authoriser, and their process may write no file (worker.py). Parsing model output may take long or
overflow the stack, so only the worker process calls this.
"""

import logging
import re

import sqlglot
from sqlglot import exp

from datasets_src.sql.text import code_of

logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

_STATEMENTS = (
    exp.DDL, exp.DML, exp.Drop, exp.Alter, exp.Command, exp.Pragma, exp.Attach, exp.Detach,
    exp.Copy, exp.Set, exp.Into, exp.Use, exp.Kill, exp.Transaction, exp.Commit, exp.Rollback,
    exp.Execute, exp.TruncateTable, exp.Describe, exp.LoadData, exp.Analyze, exp.Install, exp.Show,
    exp.Summarize,
)  # fmt: skip
_FORBIDDEN_FUNCTION = re.compile(
    r"load_extension|writefile|readfile|fts3_tokenizer|edit|shell|getenv|glob|query|query_table"
    r"|read_\w+|\w+_scan|sniff_csv|pragma_\w+|duckdb_\w+|xp_\w+|openrowset|opendatasource|pg_\w+"
    r"|lo_\w+|dblink\w*|sleep_ms|write_log|which_secret|setseed|set_config|nextval|setval",
    re.IGNORECASE,
)
_ROW_FUNCTIONS = {
    *("generate_series", "exploding_generate_series", "range", "unnest", "explode"),
    *("json_each", "json_tree"),
}
# T-SQL needs no `;` between statements: SELECT 1 DROP TABLE rutas
_WRITES = re.compile(
    r"\b(drop|alter|create|truncate)\s+(table|view|index|database|schema|login|user|procedure)\b"
    r"|\bdelete\s+from\b|\binsert\s+into\b|\bmerge\s+into\b|\bupdate\s+\S+\s+set\b"
    r"|\bexec(ute)?\s+\w",
    re.IGNORECASE,
)
# Statements that a dialect's grammar lacks, e.g. ATTACH in tsql.
_OTHER_STATEMENT = re.compile(
    r"\s*(attach|detach|install|load|export|import|vacuum|reindex|copy|grant|revoke|insert|drop"
    r"|call|checkpoint|pragma)\b",
    re.IGNORECASE,
)


class QueryRejected(Exception):
    """SQL that is not executed. `status`: "invalid", "unsafe" or "unsupported" (see worker.py)."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def parse_select(sql: str, dialect: str) -> exp.Expr:
    """The syntax tree of the single read-only statement in `sql`.

    Raises:
        QueryRejected: "invalid" if it is not a SELECT; "unsafe" if it is more than one statement
            or one that does more than read.
    """
    code = code_of(sql, dialect)
    if found := _WRITES.search(code):
        raise QueryRejected("unsafe", f"{' '.join(found[0].split())} is not a SELECT")
    try:
        statements = [tree for tree in sqlglot.parse(sql, read=dialect) if tree is not None]
    except sqlglot.errors.SqlglotError as error:
        message = re.sub(r"\x1b\[\d*m", "", str(error))  # sqlglot underlines for a terminal
        status = "unsafe" if _OTHER_STATEMENT.match(code) else "invalid"
        raise QueryRejected(status, message) from error
    if not statements:
        raise QueryRejected("invalid", "no statement")
    for tree in statements:
        _refuse_unsafe(tree)
    if len(statements) > 1:
        raise QueryRejected("unsafe", f"{len(statements)} statements where one SELECT is allowed")
    if not isinstance(statements[0], exp.Query):
        raise QueryRejected("unsafe" if _OTHER_STATEMENT.match(code) else "invalid", "not a SELECT")
    return statements[0]


def _refuse_unsafe(tree: exp.Expr) -> None:
    for node in tree.walk():
        if isinstance(node, _STATEMENTS) and not isinstance(node, exp.Query):
            raise QueryRejected("unsafe", f"{node.key.upper()} is not a SELECT")
        if isinstance(node, exp.Func) and _FORBIDDEN_FUNCTION.fullmatch(_function_name(node)):
            raise QueryRejected("unsafe", f"function {_function_name(node)} is not allowed")
        if isinstance(node, exp.Table):
            _refuse_table(node)


def _function_name(node: exp.Func) -> str:
    return str(node.this) if isinstance(node, exp.Anonymous) else node.sql_name()


def _refuse_table(table: exp.Table) -> None:
    if isinstance(table.this, exp.Func):
        name = _function_name(table.this).lower()
        if name not in _ROW_FUNCTIONS:
            raise QueryRejected("unsafe", f"table function {name} is not allowed")
    elif re.search(r"[/\\*]|\.\w+$", table.name):
        raise QueryRejected("unsafe", f"{table.name} looks like a file")
    elif re.fullmatch(r"(?i)(pragma|duckdb)_\w+", table.name):
        raise QueryRejected("unsafe", f"{table.name} describes the engine, not the data")
