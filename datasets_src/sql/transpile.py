"""One SELECT of any dialect, checked and rewritten for the engine that will run it.

for_engine("SELECT TOP 5 [name] FROM dbo.Taxonomia", dialect="tsql", engine="sqlite", ...)
-> 'SELECT "name" FROM "Taxonomia" LIMIT 5'

Parsing what a model wrote may take long or overflow the stack: only the worker process calls this.
"""

import logging
import re
from collections.abc import Set

import sqlglot
from sqlglot import exp

logging.getLogger("sqlglot").setLevel(logging.CRITICAL)

_STATEMENTS = (
    exp.DDL, exp.DML, exp.Drop, exp.Alter, exp.Command, exp.Pragma, exp.Attach, exp.Detach,
    exp.Copy, exp.Set, exp.Into, exp.Use, exp.Kill, exp.Transaction, exp.Commit, exp.Rollback,
    exp.Execute, exp.TruncateTable, exp.Describe, exp.LoadData, exp.Analyze,
)  # fmt: skip
_FORBIDDEN_FUNCTION = re.compile(
    r"load_extension|writefile|readfile|fts3_tokenizer|edit|shell|getenv|glob|query|query_table"
    r"|read_\w+|\w+_scan|sniff_csv|pragma_\w+|duckdb_\w+|xp_\w+|openrowset|opendatasource|pg_\w+",
    re.IGNORECASE,
)
_ROW_FUNCTIONS = {"generate_series", "range", "unnest", "explode", "json_each", "json_tree"}
_TEXT_FUNCTIONS = (
    exp.Concat, exp.ConcatWs, exp.DPipe, exp.Lower, exp.Upper, exp.Trim, exp.Substring, exp.Left,
    exp.Right, exp.Replace, exp.GroupConcat, exp.TimeToStr, exp.National,
)  # fmt: skip
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.In, exp.Between)


class Refused(Exception):
    """SQL that is not run: `status` is "invalid" or "unsafe"."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def parse_select(sql: str, dialect: str) -> exp.Expr:
    """The tree of the only statement in `sql`, which reads and does nothing else.

    Raises Refused: "invalid" where it is no SQL, "unsafe" where it is more than one SELECT.
    """
    try:
        statements = [tree for tree in sqlglot.parse(sql, read=dialect) if tree is not None]
    except sqlglot.errors.SqlglotError as error:
        said = re.sub(r"\x1b\[\d*m", "", str(error))  # sqlglot underlines for a terminal
        raise Refused("unsafe" if _looks_unsafe(sql) else "invalid", said) from error
    if not statements:
        raise Refused("invalid", "no statement")
    for tree in statements:
        _refuse_unsafe(tree)
    if len(statements) > 1:
        raise Refused("unsafe", f"{len(statements)} statements where one SELECT is allowed")
    if not isinstance(statements[0], exp.Query):
        raise Refused("invalid", "not a SELECT")
    return statements[0]


def _looks_unsafe(sql: str) -> bool:
    """Statements that the dialect's grammar lacks, e.g. ATTACH under tsql."""
    words = r"attach|detach|install|load|export|import|vacuum|reindex|copy|exec|grant|insert|drop"
    return re.match(rf"\s*({words})\s", sql, re.IGNORECASE) is not None


def _refuse_unsafe(tree: exp.Expr) -> None:
    for node in tree.walk():
        if isinstance(node, _STATEMENTS) and not isinstance(node, exp.Query):
            raise Refused("unsafe", f"{node.key.upper()} is not a SELECT")
        if isinstance(node, exp.Func) and _FORBIDDEN_FUNCTION.fullmatch(_function_name(node)):
            raise Refused("unsafe", f"function {_function_name(node)} is not allowed")
        if isinstance(node, exp.Table):
            _refuse_table(node)


def _function_name(node: exp.Func) -> str:
    return str(node.this) if isinstance(node, exp.Anonymous) else node.sql_name()


def _refuse_table(table: exp.Table) -> None:
    if isinstance(table.this, exp.Func):
        name = _function_name(table.this).lower()
        if name not in _ROW_FUNCTIONS:
            raise Refused("unsafe", f"table function {name} is not allowed")
    elif re.search(r"[/\\*]|\.\w+$", table.name):
        raise Refused("unsafe", f"{table.name} looks like a file")
    elif re.fullmatch(r"(?i)(pragma|duckdb)_\w+", table.name):
        raise Refused("unsafe", f"{table.name} tells of the engine, not of the data")


def for_engine(
    tree: exp.Expr, sql: str, *, dialect: str, engine: str, text_columns: Set[str]
) -> str:
    """The SQL that `engine` ("sqlite" or "duckdb") runs for `tree`, parsed from `sql`.

    `text_columns` are the lower-case names of columns that hold text wherever they occur. In its
    own dialect an engine gets the text as it was written.
    """
    if dialect == engine:
        return sql
    tree = tree.copy()
    if dialect in ("tsql", "postgres"):
        _drop_qualifiers(tree)
    if dialect == "tsql":
        tree = tree.transform(_from_tsql, copy=False)
        _concatenate_texts(tree, text_columns)
    if dialect in ("tsql", "sqlite") and engine == "duckdb":
        tree = tree.transform(_like_without_case, copy=False)
    if engine == "sqlite":
        tree = tree.transform(_for_sqlite, copy=False)
        if dialect == "tsql":
            tree = tree.transform(lambda node: _without_case(node, text_columns), copy=False)
    try:
        return tree.sql(dialect=engine, unsupported_level=sqlglot.ErrorLevel.IGNORE)
    except sqlglot.errors.SqlglotError as error:
        raise Refused("invalid", str(error)) from error


def _drop_qualifiers(tree: exp.Expr) -> None:
    """dbo.rutas and public.rutas are rutas: there is one schema here."""
    for node in tree.find_all(exp.Table, exp.Column):
        node.set("db", None)
        node.set("catalog", None)


def _from_tsql(node: exp.Expr) -> exp.Expr:
    """What sqlglot leaves as it is: N'..', varchar(MAX), hints, collations, recursion."""
    if isinstance(node, exp.Table):
        node.set("hints", None)
    elif isinstance(node, exp.With):
        node.set("recursive", any(_names_itself(cte) for cte in node.expressions))
    elif isinstance(node, exp.National):
        return exp.Literal.string(node.name)
    elif isinstance(node, exp.DataType) and "MAX" in {e.name.upper() for e in node.expressions}:
        node.set("expressions", [])
    elif isinstance(node, exp.Collate):
        return node.this
    return node


def _concatenate_texts(tree: exp.Expr, text_columns: Set[str]) -> None:
    """text + text is text || text; the innermost first, since each makes the next one a text."""
    for node in reversed(list(tree.find_all(exp.Add))):
        if _is_text(node, text_columns):
            node.replace(exp.DPipe(this=node.this, expression=node.expression))


def _for_sqlite(node: exp.Expr) -> exp.Expr:
    """Functions that SQLite's grammar refuses, under the names functions.py gives them."""
    if isinstance(node, exp.Left | exp.Right):
        return exp.func(f"{node.key}_chars", node.this, node.expression)
    if isinstance(node, exp.Extract) and node.name.upper() in ("YEAR", "MONTH", "DAY"):
        return exp.func(f"{node.name}_of", node.expression)
    return node


def _names_itself(cte: exp.Expr) -> bool:
    """SQL Server has no word RECURSIVE."""
    return any(table.name.lower() == cte.alias.lower() for table in cte.find_all(exp.Table))


def _is_text(node: exp.Expr | None, text_columns: Set[str]) -> bool:
    if isinstance(node, exp.Literal):
        return node.is_string
    if isinstance(node, exp.Column):
        return node.name.lower() in text_columns
    if isinstance(node, exp.Cast):
        return bool(node.to.is_type(*exp.DataType.TEXT_TYPES))
    if isinstance(node, exp.Paren | exp.Coalesce | exp.Max | exp.Min):
        return _is_text(node.this, text_columns)
    if isinstance(node, exp.Add):
        return _is_text(node.left, text_columns) or _is_text(node.right, text_columns)
    return isinstance(node, _TEXT_FUNCTIONS)


def _without_case(node: exp.Expr, text_columns: Set[str]) -> exp.Expr:
    """Computed text has no collation in SQLite; a bare column keeps its own, and its index."""
    if not isinstance(node, _COMPARISONS) or isinstance(node.this, exp.Column):
        return node
    other = node.args.get("expression")
    if isinstance(other, exp.Column):
        return node
    if _is_text(node.this, text_columns) or _is_text(other, text_columns):
        collation = exp.to_identifier("GALLIPATO_NOCASE")
        node.set("this", exp.Collate(this=exp.paren(node.this), expression=collation))
    return node


def _like_without_case(node: exp.Expr) -> exp.Expr:
    """LIKE ignores case in SQLite and SQL Server, not in DuckDB, whatever the collation."""
    if isinstance(node, exp.Like):
        return exp.ILike(**{key: node.args.get(key) for key in ("this", "expression")})
    return node
