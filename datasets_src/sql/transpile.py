"""Transpiles a checked T-SQL or PostgreSQL SELECT for the engine that will run it.

for_engine(parse_select("SELECT TOP 5 [name] FROM dbo.Taxonomia", "tsql"), ...)
-> 'SELECT "name" FROM "Taxonomia" LIMIT 5'

sqlglot does most of it; this module adds what sqlglot omits or translates with another meaning.
"""

from collections.abc import Callable, Sequence

import sqlglot
from sqlglot import exp

from datasets_src.sql.functions import like_regex
from datasets_src.sql.kinds import Kinds, kind_of
from datasets_src.sql.safety import QueryRejected

_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.In, exp.Between)
# SQLite lacks these, or sqlglot's translation changes their meaning (months of 30 days).
_NOT_FOR_SQLITE = (
    exp.TryCast, exp.DateDiff, exp.DateAdd, exp.DateSub, exp.Interval, exp.LastDay,
    exp.TimestampTrunc, exp.DateTrunc, exp.JSONExtract, exp.JSONExtractScalar,
    exp.ExplodingGenerateSeries, exp.GenerateSeries,
)  # fmt: skip
_PARTS = ("YEAR", "MONTH", "DAY")  # of a date, which functions.py defines in SQLite


def for_engine(tree: exp.Expr, *, dialect: str, engine: str, kinds: Kinds) -> str:
    """The SQL that `engine` ("sqlite" or "duckdb") runs for `tree` of dialect tsql or postgres.

    Modifies `tree`, since copying it takes as long as parsing it again.

    Raises:
        QueryRejected: "unsupported" if the engine has no equivalent.
    """
    _drop_qualifiers(tree)
    _rewrite_all(tree, _rewrites(dialect, engine, kinds))
    if dialect == "tsql":
        _concatenate_texts(tree, kinds)
    try:
        return tree.sql(engine, copy=False, unsupported_level=sqlglot.ErrorLevel.IGNORE)
    except sqlglot.errors.SqlglotError as error:
        raise QueryRejected("unsupported", str(error)) from error


def _rewrite_all(tree: exp.Expr, rewrites: Sequence[Callable[[exp.Expr], exp.Expr]]) -> None:
    """Rewrite every node, children before parents; the root node is never replaced."""
    for node in reversed(list(tree.walk())):
        new = node
        for rewrite in rewrites:
            new = rewrite(new)
        if new is not node and node is not tree:
            node.replace(new)


def _rewrites(dialect: str, engine: str, kinds: Kinds) -> list[Callable[[exp.Expr], exp.Expr]]:
    """The rewrites in order; each takes the node that the previous one returned."""
    rewrites: list[Callable[[exp.Expr], exp.Expr]] = []
    if dialect == "tsql":
        rewrites += [_from_tsql, lambda node: _integer_average(node, kinds)]
    else:
        rewrites.append(_from_postgres)
    rewrites += [_bounded_text, lambda node: _integer_cast(node, kinds, dialect, engine)]
    if engine == "duckdb":
        rewrites += [_with_ties, _joined_lateral]
        if dialect == "tsql":
            rewrites += [_like_class, _like_without_case]
    else:
        rewrites.append(_for_sqlite)
        if dialect == "tsql":
            rewrites.append(lambda node: _without_case(node, kinds))
    return rewrites


def _drop_qualifiers(tree: exp.Expr) -> None:
    """dbo.rutas and public.rutas become rutas, since there is one schema."""
    for node in tree.find_all(exp.Table, exp.Column):
        node.set("db", None)
        node.set("catalog", None)


def _from_tsql(node: exp.Expr) -> exp.Expr:
    """N'..', varchar(MAX), hints, collations, recursion; SQL Server's LEN and CHARINDEX."""
    if isinstance(node, exp.Table):
        node.set("hints", None)
    elif isinstance(node, exp.With):
        node.set("recursive", any(_names_itself(cte) for cte in node.expressions))
    elif isinstance(node, exp.National):
        return exp.Literal.string(node.name)
    elif isinstance(node, exp.DataType):
        if "MAX" in {e.name.upper() for e in node.expressions}:
            node.set("expressions", [])
        if node.this == exp.DataType.Type.FLOAT:
            node.set("this", exp.DataType.Type.DOUBLE)
    elif isinstance(node, exp.Collate):
        return node.this
    elif isinstance(node, exp.Convert) and not node.args.get("style"):
        cast = exp.TryCast if node.args.get("safe") else exp.Cast
        return cast(this=node.expression, to=node.this)
    elif isinstance(node, exp.Length):
        node.set("this", exp.func("RTRIM", node.this))
    elif isinstance(node, exp.StrPosition):
        for part in ("this", "substr"):
            node.set(part, exp.Lower(this=node.args[part]))
    return node


def _names_itself(cte: exp.Expr) -> bool:
    """Whether a CTE is recursive; SQL Server has no keyword RECURSIVE."""
    return any(table.name.lower() == cte.alias.lower() for table in cte.find_all(exp.Table))


def _integer_average(node: exp.Expr, kinds: Kinds) -> exp.Expr:
    """In SQL Server the average of integers is an integer."""
    if isinstance(node, exp.Avg) and kind_of(node.this, kinds) == "integer":
        return exp.cast(exp.Trunc(this=node.copy()), "bigint")
    return node


def _concatenate_texts(tree: exp.Expr, kinds: Kinds) -> None:
    """text + text becomes text || text, innermost first: each result makes the next one text."""
    for node in reversed(list(tree.find_all(exp.Add))):
        if kind_of(node, kinds) == "text":
            node.replace(exp.DPipe(this=node.this, expression=node.expression))


def _from_postgres(node: exp.Expr) -> exp.Expr:
    """In PostgreSQL a backslash escapes in LIKE, and SIMILAR TO has the wildcards of LIKE."""
    if isinstance(node, exp.Like | exp.ILike) and not isinstance(node.parent, exp.Escape):
        if "\\" in node.expression.name:
            return exp.Escape(this=node.copy(), expression=exp.Literal.string("\\"))
    elif isinstance(node, exp.SimilarTo) and isinstance(node.expression, exp.Literal):
        regex = node.expression.name.replace("%", ".*").replace("_", ".")
        node.set("expression", exp.Literal.string(regex))
    return node


def _bounded_text(node: exp.Expr) -> exp.Expr:
    """A cast to varchar(3) keeps three characters, which neither SQLite nor DuckDB does."""
    if not isinstance(node, exp.Cast) or not node.to.is_type(*exp.DataType.TEXT_TYPES):
        return node
    if not node.to.expressions:
        return node
    text, length = exp.cast(node.this, "text"), node.to.expressions[0].this
    return exp.Substring(this=text, start=exp.Literal.number(1), length=length)


def _integer_cast(node: exp.Expr, kinds: Kinds, dialect: str, engine: str) -> exp.Expr:
    """SQL Server and SQLite truncate a fraction, PostgreSQL and DuckDB round it."""
    truncates, engine_truncates = dialect == "tsql", engine == "sqlite"
    if not isinstance(node, exp.Cast) or kind_of(node.this, kinds) != "number":
        return node
    if node.to.is_type(*exp.DataType.INTEGER_TYPES) and truncates != engine_truncates:
        node.set("this", (exp.Trunc if truncates else exp.Round)(this=node.this))
    elif (
        engine == "sqlite"
        and node.to.is_type(exp.DataType.Type.DECIMAL)
        and len(node.to.expressions) == 2
    ):
        return exp.Round(this=node.this, decimals=node.to.expressions[1].this)
    return node


def _with_ties(node: exp.Expr) -> exp.Expr:
    """TOP 3 WITH TIES as a rank, since DuckDB has QUALIFY but not WITH TIES."""
    limit = node.args.get("limit")
    options = limit.args.get("limit_options") if limit else None
    if not isinstance(node, exp.Select) or limit is None or not options:
        return node
    if not options.args.get("with_ties"):
        return node
    order, num = node.args["order"], limit.args.get("expression") or limit.args.get("count")
    rank = exp.Window(this=exp.Anonymous(this="RANK"), order=order.copy())
    node.set("qualify", exp.Qualify(this=exp.LTE(this=rank, expression=num.copy())))
    node.set("limit", None)
    return node


def _joined_lateral(node: exp.Expr) -> exp.Expr:
    """CROSS APPLY and OUTER APPLY, which sqlglot translates to a join without ON."""
    if isinstance(node, exp.Join) and isinstance(node.this, exp.Lateral):
        applied = node.this.args.get("cross_apply")
        if applied is not None:
            node.this.set("cross_apply", None)
            node.set("side", None if applied else "LEFT")
            node.set("on", exp.true())
    return node


def _like_class(node: exp.Expr) -> exp.Expr:
    """[a-c] in SQL Server's LIKE, which needs a regular expression in DuckDB."""
    is_escaped = isinstance(node, exp.Escape)
    like = node.this if is_escaped else node
    if not isinstance(like, exp.Like | exp.ILike) or (
        like is node and isinstance(node.parent, exp.Escape)
    ):
        return node
    pattern = like.expression.name if isinstance(like.expression, exp.Literal) else ""
    if "[" not in pattern:
        return node
    escape = node.expression.name if is_escaped else ""
    regex = exp.Literal.string("(?is)" + like_regex(pattern, escape, has_classes=True))
    found = exp.Anonymous(this="REGEXP_FULL_MATCH", expressions=[like.this.copy(), regex])
    return exp.Not(this=found) if like.args.get("negate") else found


def _like_without_case(node: exp.Expr) -> exp.Expr:
    """LIKE ignores case in SQL Server, but not in DuckDB under any collation."""
    return exp.ILike(**node.args) if type(node) is exp.Like else node


def _for_sqlite(node: exp.Expr) -> exp.Expr:
    """Functions that SQLite's grammar rejects, renamed as functions.py registers them."""
    options = node.args if isinstance(node, exp.LimitOptions) else {}
    if isinstance(node, _NOT_FOR_SQLITE) or options.get("with_ties") or options.get("percent"):
        raise QueryRejected("unsupported", f"{node.key} in SQLite")
    if isinstance(node, exp.Left | exp.Right):
        return exp.func(f"{node.key}_chars", node.this, node.expression)
    if isinstance(node, exp.Extract):
        if node.name.upper() not in _PARTS:
            raise QueryRejected("unsupported", f"EXTRACT {node.name} in SQLite")
        return exp.func(f"{node.name}_of", node.expression)
    return node


def _without_case(node: exp.Expr, kinds: Kinds) -> exp.Expr:
    """Adds a collation to computed text, which has none in SQLite.

    A bare column keeps its own collation, and so its index.
    """
    if not isinstance(node, _COMPARISONS) or isinstance(node.this, exp.Column):
        return node
    other = node.args.get("expression")
    if isinstance(other, exp.Column):
        return node
    if "text" in (kind_of(node.this, kinds), kind_of(other, kinds)):
        collation = exp.to_identifier("GALLIPATO_NOCASE")
        node.set("this", exp.Collate(this=exp.paren(node.this), expression=collation))
    return node
