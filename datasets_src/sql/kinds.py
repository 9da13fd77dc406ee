"""Infers the type of an expression in a query from its syntax and the columns' types.

kind_of(the tree of `AVG(etapas) + 1`, {"etapas": "integer"}) -> "number"

The transpiler needs it where SQL Server and PostgreSQL differ from SQLite and DuckDB: `+` of texts,
the average of integers, and how a cast to an integer rounds.
"""

from collections.abc import Mapping

from sqlglot import exp

Kinds = Mapping[str, str]  # lower-case column name -> "text", "integer", "number" or "date"
_TEXT = (
    exp.Concat, exp.ConcatWs, exp.DPipe, exp.Lower, exp.Upper, exp.Trim, exp.Substring, exp.Left,
    exp.Right, exp.Replace, exp.GroupConcat, exp.TimeToStr, exp.National, exp.Repeat, exp.Reverse,
    exp.Stuff,
)  # fmt: skip
_INTEGER = (
    exp.Count, exp.Length, exp.StrPosition, exp.Year, exp.Month, exp.Day, exp.Extract,
    exp.DateDiff,
)  # fmt: skip
_NUMBER = (exp.Avg, exp.Sqrt, exp.Pow, exp.Exp, exp.Ln, exp.Log)
_SAME_AS_ARGUMENT = (
    exp.Paren, exp.Coalesce, exp.Nullif, exp.Max, exp.Min, exp.Sum, exp.Abs, exp.Neg, exp.Round,
)  # fmt: skip
_ARITHMETIC = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod)


def kind_of(node: exp.Expr | None, kinds: Kinds) -> str | None:
    """One of "text", "integer", "number" (any other number), "date", or None if unknown."""
    if isinstance(node, exp.Literal):
        return "text" if node.is_string else "integer" if node.is_int else "number"
    if isinstance(node, exp.Column):
        return kinds.get(node.name.lower())
    if isinstance(node, exp.Cast):
        return _kind_of_type(node.to)
    if isinstance(node, _SAME_AS_ARGUMENT):
        return kind_of(node.this, kinds)
    if isinstance(node, _ARITHMETIC):
        return _joined({kind_of(node.left, kinds), kind_of(node.right, kinds)}, node)
    if isinstance(node, exp.Case):
        branches = [branch.args["true"] for branch in node.args["ifs"]]
        default = node.args.get("default")
        return _joined({kind_of(b, kinds) for b in [*branches, *([default] if default else [])]})
    for nodes, kind in ((_TEXT, "text"), (_INTEGER, "integer"), (_NUMBER, "number")):
        if isinstance(node, nodes):
            return kind
    return None


def _kind_of_type(data_type: exp.DataType) -> str | None:
    for types, kind in (
        (exp.DataType.TEXT_TYPES, "text"),
        (exp.DataType.INTEGER_TYPES, "integer"),
        (exp.DataType.REAL_TYPES, "number"),
        (exp.DataType.TEMPORAL_TYPES, "date"),
    ):
        if data_type.is_type(*types):
            return kind
    return None


def _joined(kinds: set[str | None], node: exp.Expr | None = None) -> str | None:
    """A sum with a text is text; an integer with a number is a number."""
    if isinstance(node, exp.Add) and "text" in kinds:
        return "text"
    if kinds == {"integer", "number"}:
        return "number"
    return kinds.pop() if len(kinds) == 1 else None
