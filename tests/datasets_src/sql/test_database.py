"""Every kind of source gives the same tables in both engines; errors state a remedy."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from datasets_src.errors import UserError
from datasets_src.sql.database import open_database

DUMP = """
CREATE TABLE rutas (id INTEGER, nombre TEXT, km REAL, abierta DATE);
INSERT INTO rutas VALUES (1, 'Ávila', 3.5, '2020-02-29'), (2, 'Soria', 4, NULL);
CREATE TABLE notas (id INTEGER, mixta, nada BLOB);
INSERT INTO notas VALUES (1, 7, NULL), (2, 'siete', NULL);
"""
RUTAS = [(1, "Ávila", 3.5), (2, "Soria", 4.0)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def make_source(kind: str, folder: Path) -> Path:
    path = folder / f"rutas{kind}"
    if kind == ".sql":
        path.write_text(DUMP, encoding="utf-8")
    elif kind == ".sqlite":
        with sqlite3.connect(path) as connection:
            connection.executescript(DUMP)
    elif kind == ".py":
        (folder / "dump.sql").write_text(DUMP, encoding="utf-8")
        path.write_text(
            "import pathlib, sqlite3\n"
            "here = pathlib.Path(__file__).parent\n"
            "def build_sqlite(path):\n"
            "    (here / 'by-product.txt').write_text('next to the script')\n"
            "    text = (here / 'dump.sql').read_text(encoding='utf-8')\n"
            "    sqlite3.connect(path).executescript(text)\n"
        )
    else:
        path = folder / "tables"
        path.mkdir()
        ids, names, km = zip(*RUTAS, strict=True)
        table = pa.table({"id": list(ids), "nombre": list(names), "km": list(km)})
        if kind == "/parquet":
            pyarrow.parquet.write_table(table, path / "rutas.parquet")
        else:
            pyarrow.csv.write_csv(table, path / "rutas.csv")
    return path


@pytest.mark.parametrize("kind", [".sql", ".sqlite", ".py", "/parquet", "/csv"])
def test_both_engines_hold_the_tables_of_every_kind_of_source(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    source = make_source(kind, folder)
    before = sorted(folder.rglob("*"))
    database = open_database(source, case_insensitive=False)
    query = "SELECT id, nombre, km FROM rutas ORDER BY id"
    assert sqlite3.connect(database.sqlite).execute(query).fetchall() == RUTAS
    assert duckdb.connect(str(database.duckdb), read_only=True).execute(query).fetchall() == RUTAS
    assert sorted(folder.rglob("*")) == before  # a script's by-products fall elsewhere


def test_types_follow_the_values(tmp_path: Path) -> None:
    database = open_database(make_source(".sql", tmp_path), case_insensitive=False)
    connection = duckdb.connect(str(database.duckdb), read_only=True)
    types = {row[0]: row[1] for row in connection.execute("DESCRIBE rutas").fetchall()}
    assert types == {"id": "BIGINT", "nombre": "VARCHAR", "km": "DOUBLE", "abierta": "DATE"}
    assert connection.execute("SELECT mixta FROM notas ORDER BY id").fetchall() == [
        ("7",),
        ("siete",),
    ]


def test_the_cache_is_keyed_by_content_and_a_killed_build_is_repeated(tmp_path: Path) -> None:
    source = make_source(".sql", tmp_path)
    first = open_database(source, case_insensitive=False)
    written = first.sqlite.stat().st_mtime_ns
    assert open_database(source, case_insensitive=False) == first
    assert first.sqlite.stat().st_mtime_ns == written
    assert open_database(source, case_insensitive=True) != first
    part = first.directory.with_name(f".{first.directory.name}.part")
    first.directory.rename(part)  # as a kill before the last rename leaves it
    (part / "db.duckdb").write_bytes(b"torn")
    assert open_database(source, case_insensitive=False) == first
    assert duckdb.connect(str(first.duckdb), read_only=True).execute("FROM rutas").fetchall()
    assert not part.exists()
    source.write_text(DUMP + "INSERT INTO rutas VALUES (3, 'Lugo', 1, NULL);", encoding="utf-8")
    assert open_database(source, case_insensitive=False) != first


def test_concurrent_builds_make_one_database(tmp_path: Path) -> None:
    source = make_source(".sql", tmp_path)
    with ThreadPoolExecutor(4) as executor:
        made = executor.map(lambda _: open_database(source, case_insensitive=False), range(8))
    assert len(set(made)) == 1


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.sqlite", None, "does not exist"),
        ("rows.xml", b"<a/>", "has an unsupported suffix"),
        ("torn.sqlite", b"SQLite format 3\0 and no more", "cannot be read"),
        ("bad.sql", b"CREATE TABLE (", "cannot be read"),
        ("latin.sql", "SELECT 'á'".encode("latin-1"), "cannot be read"),
        ("empty.sql", b"-- nothing", "has no table"),
        ("bad.py", b"def build_sqlite(path): raise ValueError('no rain')", "no rain"),
        ("other.py", b"x = 1", "build_sqlite"),
    ],
)
def test_a_broken_source_is_one_line_with_a_remedy(
    name: str, content: bytes | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        open_database(path, case_insensitive=False)
    (fault,) = caught.value.faults
    assert says in fault and str(path) in fault and "\n" not in fault
    assert not list((tmp_path / "cache").rglob("db.sqlite"))
