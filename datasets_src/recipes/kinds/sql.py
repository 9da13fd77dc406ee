"""Text-to-SQL rows: the teacher writes the SQL, and rows whose SQL runs and returns rows are kept.

    questions_file  {"id": "s0002", "group": "contar_rutas:Umbría", "question": "Número de rutas de
                     Umbría", "split": "train"}
    makes           the same with "sql": "SELECT COUNT(*) FROM rutas WHERE comarca = 'Umbría'"

Running the SQL proves that it is valid for these tables, not that it answers the question: the rows
are as good as the teacher. The shipped recipe lets the pocket model teach itself, offline.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from datasets_src.config import Section
from datasets_src.errors import UserError
from datasets_src.reading.columns import map_rows
from datasets_src.reading.readers import check_file, read_rows
from datasets_src.recipes.contract import TEACHER, Dropped, Item, Prompt, Row, TeacherSession
from datasets_src.recipes.sources.sql_rows import QueryFault, SqlTable, open_table
from datasets_src.split import share_of
from datasets_src.sql.text import Dialect
from datasets_src.tasks.text2sql import clean_reply

TASK, OUTPUT = "text2sql", "sql"
DEPENDS_ON = ("question",)
PLACEHOLDERS = {
    "answer": {"schema": "the text of schema_file", "question": "the user's question"},
}
MUST_NAME = {"answer": ("question",)}
LICENSE = "other"


class Options(Section):
    """`options:` of the kind."""

    questions_file: str = Field(min_length=1, description="rows of question, id, group, split")
    questions_columns: dict[str, str] = Field(
        default_factory=dict, description="question, id, group, split -> column of that file"
    )
    max_questions: int | None = Field(
        None, ge=1, description="number of questions to sample; null: all"
    )
    schema_file: str = Field(min_length=1, description="text file with the schema for the prompt")
    database: str = Field(min_length=1, description="as data.task_options.database of text2sql")
    dialect: Dialect = Field("sqlite", description="dialect of the SQL")
    sql_limit_s: float = Field(1.0, gt=0, description="CPU time limit of a query, in seconds")
    license: str = Field("other", description="licence of the questions, given to the rows")
    answer: Prompt = Field(
        Prompt(template="{schema}\n\n{question}"), description="prompt for the teacher"
    )


@dataclass(frozen=True)
class Material:
    """The questions and the tables."""

    options: Options
    schema: str
    questions: Sequence[Mapping[str, str]]
    table: SqlTable


def open_material(options: Options) -> Material:
    """Read the files and open the database. UserError: a file is missing or broken."""
    key, path = "options.questions_file", Path(options.questions_file).expanduser()
    rows = map_rows(
        read_rows(path, key=key),
        options.questions_columns,
        fields={"question": "the user's question"},
        path=path,
        key=key,
    )
    questions = list(rows)
    if options.max_questions is not None:
        by_share = sorted(questions, key=lambda row: share_of(row["id"], seed=0))
        ids = {row["id"] for row in by_share[: options.max_questions]}
        questions = [row for row in questions if row["id"] in ids]
    schema_path = Path(options.schema_file).expanduser()
    check_file(schema_path, "options.schema_file")
    schema = schema_path.read_text(encoding="utf-8").strip()
    table = open_table(
        options.database, dialect=options.dialect, max_rows=1, limit_s=options.sql_limit_s
    )
    if not all(isinstance(row["question"], str) for row in questions):
        raise UserError(f"{key}: {path}: a question is not a string; fix or remove it")
    return Material(options, schema, questions, table)


def items(material: Material) -> Iterator[Item]:
    """One item per question."""
    for row in material.questions:
        yield Item(row["id"], row)


def make(item: Item, material: Material, *, session: TeacherSession) -> Iterator[Row | Dropped]:
    """The question with the teacher's SQL, if it runs and returns rows."""
    question, options = item.data, material.options
    fields = {"schema": material.schema, "question": question["question"]}
    sql = clean_reply(session.teach(options.answer, fields).text, options.dialect)
    try:
        found = material.table.rows(sql)
    except QueryFault as fault:
        yield Dropped(item.id, "SQL that does not run", str(fault))
        return
    if not found:
        yield Dropped(item.id, "SQL that finds nothing", sql)
        return
    yield Row(
        id=item.id,
        group=question["group"],
        fields={"question": question["question"], "sql": sql},
        origin=TEACHER,
        sources=(f"question:{item.id}",),
        license=options.license,
        split=question["split"],
    )
