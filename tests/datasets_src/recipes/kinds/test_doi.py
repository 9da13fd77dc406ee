"""DOI rows: each sentence with its own works, from a file, Crossref and GROBID alike."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from datasets_src.errors import UserError
from datasets_src.generators.boletin import generate
from datasets_src.generators.world import COMARCAS
from datasets_src.recipes.kinds.doi import Options
from datasets_src.tasks import doi as task
from datasets_src.text.dois import find_dois
from tests.recipe_tools import Row, build_recipe, build_rows, left_out, rows_of
from tests.servers.lookup_answers import crossref, grobid
from tests.servers.lookup_server import LookUpServer
from tests.servers.teacher_server import TeacherServer, last_user

BOLETIN = Path("datasets_src/shipped/boletin")
PAPERS = BOLETIN / "papers"
WORKS = [json.loads(line) for line in (BOLETIN / "works.jsonl").read_text("utf-8").splitlines()]
OFFLINE = {
    "papers": [str(PAPERS)],
    "works_file": str(BOLETIN / "works.jsonl"),
    "question_by": "template",
}
ONLINE = {"papers": [str(PAPERS)], "mailto": "ana@example.org", "lookups_per_minute": 1e6}


def without_hash(rows: list[Row]) -> list[Row]:
    return [{name: row[name] for name in row if name != "recipe_hash"} for row in rows]


def test_the_generator_reproduces_the_committed_bytes() -> None:
    for name, data in generate.generate().items():
        assert (BOLETIN / name).read_bytes() == data, name


def test_each_sentence_has_its_own_works(tmp_path: Path) -> None:
    built = build_recipe("doi", OFFLINE, tmp_path)
    rows = rows_of(built)
    assert len(rows) == 70
    assert built.record["num_groups"] == {"train": 10}
    assert left_out(built) == {"a cited work was not found": 10}
    of_doi = {work["DOI"]: work["title"][0] for work in WORKS}
    for row in rows:
        titles = [of_doi[doi] for doi in json.loads(row["dois"])]
        # The twin of each work is about another place.
        [place] = [name for name in COMARCAS if name in row["statement"]]
        assert all(place in title for title in titles)
        if row["statement"].startswith(("Unos", "Uns", "Some")):
            assert [title.split()[0] in ("Censo", "Cens", "A") for title in titles] == [True]
        context = find_dois(row["context"]).dois
        assert set(json.loads(row["dois"])) <= set(context)
        assert len(context) == 5
        assert row["question"].endswith(row["statement"])
    assert {row["license"] for row in rows} == {"CC-BY-4.0", "unknown"}
    # the four of "[1]–[4]", of which the text names two
    ranges = [row for row in rows if row["id"].endswith("#7")]
    assert all(len(json.loads(row["dois"])) == 4 for row in ranges)
    assert len(ranges) == 10


def test_the_task_takes_the_rows(tmp_path: Path) -> None:
    rows = build_rows("doi", OFFLINE, tmp_path)
    options = task.Options(answer_from="context")
    examples = list(task.load(rows, options))
    assert len(examples) == len(rows)
    assert all(task.score(example, example.target)["doi_exact"] == 1 for example in examples)


def test_crossref_gives_the_rows_of_the_file_through_faults(tmp_path: Path) -> None:
    expected = build_rows("doi", OFFLINE, tmp_path / "file")
    options = ONLINE | {"question_by": "template", "max_lookups": 16}
    with LookUpServer(crossref(WORKS)) as server:
        server.fail("/works", status=429, headers={"Retry-After": "0.2"}, times=2)
        server.fail("/works", status=500, times=2)
        server.fail("/works", status="cut")
        online = options | {"crossref_url": server.url}
        built = build_recipe("doi", online, tmp_path / "crossref")
        asked = len(server.log)
        assert asked == len(set(server.log)) + 5  # nothing twice but what failed
        again = build_recipe("doi", online, tmp_path / "crossref", num_threads=1)
        assert len(server.log) == asked  # a rerun asks nothing
    assert without_hash(rows_of(built)) == without_hash(expected)
    assert again.record == built.record


def test_grobid_reads_the_pdfs_in_place_of_pypdf(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("mirlo.pdf", "galapago.pdf"):
        shutil.copy(PAPERS / name, tmp_path / "in")
    tei = (PAPERS / "lludriga.tei.xml").read_bytes()
    options = OFFLINE | {"papers": [str(tmp_path / "in")], "license": "CC-BY-4.0"}
    with LookUpServer(grobid({(PAPERS / "mirlo.pdf").read_bytes(): tei})) as server:
        options |= {"grobid_url": server.url}
        built = build_recipe("doi", options, tmp_path, max_bad_items=0.5)
    assert [row["id"] for row in rows_of(built)] == [f"mirlo.pdf#{n}" for n in range(1, 8)]
    assert left_out(built) == {"a cited work was not found": 1, "refused by grobid (204)": 1}


def ask(body: dict[str, Any]) -> str:
    """A question of the words of its sentence."""
    sentence = last_user(body).split("«")[1].split("»")[0]
    return f"¿Quién muestra que {sentence.rstrip('.')}?"


def test_the_teacher_asks_and_one_that_ignores_its_row_is_refused(tmp_path: Path) -> None:
    options = {**OFFLINE, "question_by": "teacher"}
    teacher = TeacherServer(ask)
    rows = build_rows("doi", options, tmp_path / "good", teacher=teacher)
    assert {row["origin"] for row in rows} == {"teacher"}
    assert all(row["statement"].rstrip(".") in row["question"] for row in rows)
    # as the converter of 1,601 questions did: the example's sentence, whatever the row
    deaf = TeacherServer(lambda body: "¿Qué dicen los datos masivos?")
    with pytest.raises(UserError, match=r"max_same_outputs: .* taught rows"):
        build_rows("doi", options, tmp_path / "deaf", teacher=deaf)
    telling = TeacherServer(lambda body: "¿Qué dice 10.5555/bol.2019.14?")
    with pytest.raises(UserError, match="a question that gives a DOI"):
        build_rows("doi", options, tmp_path / "telling", teacher=telling)
    for server in (teacher, deaf, telling):
        server.close()


def test_without_a_teacher_questions_are_unfilled(tmp_path: Path) -> None:
    built = build_recipe("doi", {**OFFLINE, "question_by": "teacher"}, tmp_path)
    assert built.record["num_rows"] == {"unfilled": 70}


def test_a_prompt_without_the_sentence_is_refused_before_any_request(tmp_path: Path) -> None:
    teacher = TeacherServer(ask)
    options = {**OFFLINE, "question": {"template": "Pregunta por {titles}"}}
    with pytest.raises(UserError, match=r"options.question.template: does not name {statement}"):
        build_rows("doi", options, tmp_path, teacher=teacher)
    assert teacher.log == []
    teacher.close()


def test_a_paper_that_cannot_be_read_is_counted_or_refused(tmp_path: Path) -> None:
    shutil.copytree(PAPERS, tmp_path / "in")
    (tmp_path / "in/torn.xml").write_bytes((PAPERS / "triton.xml").read_bytes()[:900])
    options = OFFLINE | {"papers": [str(tmp_path / "in")]}
    built = build_recipe("doi", options, tmp_path)
    [dropped] = [d for d in built.record["dropped"] if d["reason"] == "unreadable XML"]
    assert dropped["num"] == 1
    assert "torn.xml (unclosed token: line 10" in dropped["examples"][0]
    teacher = TeacherServer(ask)
    taught = options | {"question_by": "teacher"}
    with pytest.raises(UserError) as refused:
        build_recipe("doi", taught, tmp_path / "strict", teacher=teacher, max_bad_items=0.0)
    assert teacher.log == []  # refused before anything is paid for
    teacher.close()
    assert "1 of 81 items are at fault" in str(refused.value)
    assert "torn.xml" in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"papers": ["nowhere"]}, "options.papers: nowhere: no such file"),
        ({"papers": []}, "options.papers: "),
        ({"works_file": None}, "mailto or works_file: set exactly one"),
        ({"mailto": "ana@example.org"}, "mailto or works_file: set exactly one"),
        ({"works_file": None, "mailto": "ana"}, "options.mailto: 'ana'"),
        ({"works_file": "nowhere.jsonl"}, "options.works_file: nowhere.jsonl: no such file"),
        ({"min_similarty": 0.5}, "did you mean min_similarity"),
    ],
)
def test_bad_options_are_one_line(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as refused:
        build_rows("doi", OFFLINE | options, tmp_path)
    assert len(refused.value.faults) == 1


def test_options_ask_crossref_cautiously() -> None:
    options = Options(papers=("a.xml",), mailto="ana@example.org")
    assert (options.lookups_per_minute, options.max_lookups) == (180, 3)
