"""Runs SQL in the sandbox and returns rows as JSON objects for a prompt.

table = open_table("tables/", dialect="tsql", max_rows=30, limit_s=10.0)
table.rows("SELECT TOP 5 name FROM dbo.Taxonomia")      -> [{"name": "Salamandra salamandra"}]

A column without a name is "", as in SQL Server's `SELECT NULL`: [{"": null}].
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_src.errors import UserError
from datasets_src.sql.compare import Result
from datasets_src.sql.database import open_database
from datasets_src.sql.sandbox import ENGINES, WorkerPool, pool_for

Rows = list[dict[str, Any]]


class QueryFault(Exception):
    """A query failed; the message says why."""


@dataclass(frozen=True)
class SqlTable:
    """The database that the queries run on."""

    pool: WorkerPool
    max_rows: int
    limit_s: float

    def rows(self, sql: str) -> Rows:
        """The first `max_rows` rows of a SELECT. QueryFault: no engine runs it."""
        result = self._run(sql)
        return [dict(zip(result.names, row, strict=True)) for row in result.rows]

    def columns(self, sql: str) -> tuple[str, ...]:
        """The names of the columns of a SELECT. QueryFault: no engine runs it."""
        return self._run(sql).names

    def _run(self, sql: str) -> Result:
        """Run on the first engine of the dialect that supports the query."""
        for engine in ENGINES[self.pool.dialect]:
            outcome = self.pool.run([sql], engine, self.limit_s, max_rows=self.max_rows)
            if outcome.status != "unsupported":
                break
        if outcome.status != "ok":
            raise QueryFault(f"{outcome.status}: {outcome.detail}")
        return outcome.results[0]


def open_table(database: str, *, dialect: str, max_rows: int, limit_s: float) -> SqlTable:
    """Open a database source (sql/sources.py), building it once. UserError: no such source."""
    path = Path(database).expanduser().resolve()
    try:
        opened = open_database(path, case_insensitive=dialect == "tsql")
    except UserError as error:
        faults = (f.replace("data.task_options.", "options.") for f in error.faults)
        raise UserError(*faults) from None
    return SqlTable(pool_for(opened, dialect), max_rows, limit_s)
