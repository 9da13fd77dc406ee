"""The fauna recipe against a scripted teacher: caps, refusals, resuming, what is written."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from datasets_src.errors import UserError
from datasets_src.recipes.build import Built, Endpoint, build, open_recipe
from datasets_src.recipes.teacher import service_client
from datasets_src.recipes.teacher.service_client import ServiceDown
from jobs.common.recipe_load import load_recipe
from tests.servers.teacher_server import TeacherServer, last_user

ROOT = Path(__file__).resolve().parents[3]
FAUNA = ROOT / "jobs/recipes/fauna.yaml"


def shorter(body: dict[str, Any]) -> str:
    """What a good teacher would say: the first sentence, and the routes where there are some."""
    asked = last_user(body)
    text = re.search(r"Texto: (.*?\.)", asked)
    routes = re.search(r'"rutas": (\d+)', asked)
    assert text is not None
    return text[1] + (f" Está en {routes[1]} rutas." if routes else "")


@pytest.fixture
def server() -> Iterator[TeacherServer]:
    made = TeacherServer(shorter)
    yield made
    made.close()


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Built, TeacherServer]]:
    """A build that nothing disturbed, and the teacher it asked."""
    teacher = TeacherServer(shorter)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield run(teacher, tmp_path_factory.mktemp("calm")), teacher
    teacher.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(service_client, "FIRST_WAIT_S", 0.02)


def run(server: TeacherServer | None, out: Path, *overrides: str) -> Built:
    """Build fauna into `out` with the teacher at a server."""
    given = [f"output_dir={out}", *overrides]
    if server is not None:
        given += [f"teacher.base_url={server.base_url}", "teacher.model=escuela"]
    recipe = open_recipe(load_recipe(FAUNA, given))
    # The port differs from test to test, what the replies are kept under does not.
    endpoint = None if server is None else Endpoint(server.base_url, name="https://escuela/v1")
    return build(recipe, endpoint)


def files(directory: Path) -> dict[str, bytes]:
    paths = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def rows_of(directory: Path, name: str = "train") -> list[dict[str, Any]]:
    return list(pq.read_table(directory / f"data/{name}.parquet").to_pylist())


def test_every_row_is_filled_and_says_where_it_is_from(calm: tuple[Built, TeacherServer]) -> None:
    built, server = calm
    # 9 wishes x 8 species x 2 texts x 3 wordings, and 2 x 4 x 2 x 3 held out
    assert built.record["num_rows"] == {"train": 432, "validation": 48}
    assert built.record["origins"] == {"copy": 72, "prefix": 96, "suffix": 216, "teacher": 96}
    rows = rows_of(built.directory)
    assert Counter(row["license"] for row in rows) == {"Apache-2.0": 432}
    assert {row["recipe_hash"] for row in rows} == {built.record["recipe_hash"]}
    assert all(len(row["sources"]) == 2 and row["target"] for row in rows)
    by_origin = {row["origin"]: row for row in rows}
    assert by_origin["teacher"]["teacher"] == "escuela"
    assert by_origin["copy"]["teacher"] is None
    assert by_origin["copy"]["target"] == by_origin["copy"]["description"]
    prefix = by_origin["prefix"]
    (value,) = json.loads(prefix["context"])[0].values()
    assert prefix["target"] in (
        f"Grupo {value}. {prefix['description']}",
        f"Protegida: {value}. {prefix['description']}",
    )
    # One question for a text, whatever the wording: 2 wishes x 8 species x 2 texts.
    assert len(server.log) == 32
    assert [m["role"] for m in server.log[0].body["messages"]].count("assistant") == 3


def test_no_species_and_no_wish_is_on_both_sides(calm: tuple[Built, TeacherServer]) -> None:
    built = calm[0]
    sides = [rows_of(built.directory, name) for name in ("train", "validation")]
    for held in ("wish", "description", "science", "group"):
        train, validation = ({row[held] for row in rows} for rows in sides)
        assert not train & validation, held


def test_load_dataset_reads_it(calm: tuple[Built, TeacherServer], tmp_path: Path) -> None:
    built = calm[0]
    loaded = datasets.load_dataset(str(built.directory), cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in loaded.items()} == {"train": 432, "validation": 48}
    assert loaded["train"][0]["sources"] == rows_of(built.directory)[0]["sources"]


def test_the_card_has_counts_licences_hash_and_lengths(calm: tuple[Built, TeacherServer]) -> None:
    built = calm[0]
    card = (built.directory / "README.md").read_text(encoding="utf-8")
    for part in (
        "license: apache-2.0",
        "| train | 432 | 72 |",
        "| teacher | 96 |",
        built.record["recipe_hash"][:16],
        "Teacher: escuela, 32 answers,",
        "inputs\n     0 to",
    ):
        assert part in card, part


def test_the_same_again_asks_nothing_and_finds_it(server: TeacherServer, tmp_path: Path) -> None:
    first = run(server, tmp_path)
    before = files(first.directory)
    again = run(server, tmp_path)
    assert (first.is_new, again.is_new) == (True, False)
    (first.directory / "build.json").unlink()
    assert run(server, tmp_path).is_new, "made again, of the replies that are kept"
    assert files(first.directory) == before
    assert len(server.log) == 32


def test_another_prompt_asks_anew_and_replaces(server: TeacherServer, tmp_path: Path) -> None:
    first = run(server, tmp_path)
    other = run(server, tmp_path, "rewrite.system=Breve.")
    assert other.record["recipe_hash"] != first.record["recipe_hash"]
    assert len(server.log) == 64
    assert {row["recipe_hash"] for row in rows_of(other.directory)} == {other.record["recipe_hash"]}


def test_without_a_teacher_rewrites_are_unfilled(tmp_path: Path) -> None:
    built = run(None, tmp_path)
    assert built.record["num_rows"] == {"train": 336, "validation": 48, "unfilled": 96}
    assert {row["target"] for row in rows_of(built.directory, "unfilled")} == {None}


def test_a_cap_stops_and_raising_it_resumes(server: TeacherServer, tmp_path: Path) -> None:
    prices = ["input_price=1", "output_price=1", "max_new_tokens=60", "max_parallel=4"]
    with pytest.raises(UserError, match=r"teacher\.max_tokens: the cap of 4,000 is reached"):
        run(server, tmp_path, "max_tokens=4000", *prices)
    num_first = len(server.log)
    assert 0 < num_first < 32
    used = sum(a.body["max_tokens"] for a in server.log)
    assert used <= 4000
    assert not (tmp_path / "fauna").exists()
    built = run(server, tmp_path, "max_tokens=100000", *prices)
    assert len(server.log) == 32
    assert set(server.answered().values()) == {1}
    assert built.record["num_rows"] == {"train": 432, "validation": 48}


def test_faults_on_the_way_change_no_byte(
    calm: tuple[Built, TeacherServer], server: TeacherServer, tmp_path: Path
) -> None:
    for script in ({"status": 429}, {"status": 500}, {"how": "cut"}, {"how": "html"}):
        server.fail(**script, times=3)
    rough = run(server, tmp_path)
    assert len(server.log) == 32 + 12
    assert files(calm[0].directory) == files(rough.directory)


def test_a_teacher_that_goes_down_loses_nothing(server: TeacherServer, tmp_path: Path) -> None:
    for _ in range(10):
        server.fail()
    server.fail(status=503, times=10_000)
    with pytest.raises(ServiceDown, match="no answer in 2 tries"):
        run(server, tmp_path, "max_tries=2", "max_parallel=1")
    server.scripts.clear()
    run(server, tmp_path, "max_tries=2", "max_parallel=1")
    assert server.answered().total() == 32
    assert set(server.answered().values()) == {1}


def test_refusals_are_left_out_counted_and_limited(server: TeacherServer, tmp_path: Path) -> None:
    server.fail(how="refused", times=2)
    built = run(server, tmp_path, "max_parallel=1", "max_bad_items=0.05")
    (dropped,) = built.record["dropped"]
    assert (dropped["reason"], dropped["num"]) == ("refused by the teacher", 2)
    assert built.record["num_rows"]["train"] == 432 - 2 * 3
    server.fail(how="refused", times=10)
    with pytest.raises(UserError, match=r"max_bad_items: \d+ of 80 items are at fault") as caught:
        run(server, tmp_path / "b", "max_bad_items=0.05", "num_attempts=1")
    assert "refused by the teacher: corto:" in str(caught.value)


def test_outputs_that_ignore_their_rows_are_refused(server: TeacherServer, tmp_path: Path) -> None:
    server.reply = lambda body: "Un texto bonito sobre la naturaleza."
    with pytest.raises(UserError, match=r"dependence\.max_same_outputs: 96 of 96 taught rows"):
        run(server, tmp_path)
    assert not (tmp_path / "fauna").exists()


def test_a_template_that_forgets_its_row_is_refused_before_any_call(
    server: TeacherServer, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"options\.rewrite\.template: does not name {description}"):
        run(server, tmp_path, "rewrite.template=Haz lo que pide {wish}")
    assert server.log == []


def test_rewordings_by_the_teacher(server: TeacherServer, tmp_path: Path) -> None:
    def reply(body: dict[str, Any]) -> str:
        asked = last_user(body)
        if "formas distintas" not in asked:
            return shorter(body)
        return json.dumps({"wordings": [f"{asked[-40:]} ({i})" for i in range(2)]})

    server.reply = reply
    built = run(server, tmp_path, "num_wordings=5")
    assert built.record["num_rows"] == {"train": 720, "validation": 80}
    assert len(server.log) == 32 + 11, "each wish is reworded once"


def test_what_a_query_or_an_affix_lacks_is_reported_before_any_request(
    server: TeacherServer, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"no column \{grup\}; known: grupo"):
        run(server, tmp_path, "families={grupo: {form: prefix, affix: '{grup}.'}}")
    wishes = tmp_path / "wishes.jsonl"
    row = {"group": "x", "wish": "a", "sql": "SELECT nada FROM poblaciones"}
    wishes.write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(UserError, match=r"the sql of group x does not run \(invalid: .*nada"):
        run(server, tmp_path, f"prompts_file={wishes}", "families={}")
    assert server.log == []
