"""Reading questions: SQAC's files from disk and Hub, and Wikipedia's articles."""

import json
from pathlib import Path
from typing import Any

import pytest

from datasets_src.errors import UserError
from datasets_src.generators.lecturas import generate
from datasets_src.tasks import questions as task
from tests.recipe_tools import build_recipe, build_rows, left_out, rows_of
from tests.servers.lookup_answers import mediawiki
from tests.servers.lookup_server import LookUpServer
from tests.servers.teacher_server import TeacherServer, last_user

LECTURAS = Path("datasets_src/shipped/lecturas")
SQAC = LECTURAS / "sqac.json"
PRINTED = Path("../shared/data/qgen/sqac_printed_rows.jsonl")


def test_the_generator_reproduces_the_committed_bytes() -> None:
    for name, text in generate.generate().items():
        assert (LECTURAS / name).read_bytes() == text.encode(), name


def test_questions_of_a_context_are_one_conversation(tmp_path: Path) -> None:
    options = {"files": [str(SQAC)], "sections": ["Biografía"]}
    built = build_recipe("sqac", options, tmp_path)
    rows = rows_of(built)
    assert len(rows) == 48
    assert left_out(built) == {"another section": 48}
    asked = json.loads(SQAC.read_text("utf-8"))["data"][7]["paragraphs"][0]
    [row] = [row for row in rows if row["passage"] == asked["context"]]
    assert row["questions"].splitlines() == [
        f"{number}. {qa['question']}" for number, qa in enumerate(asked["qas"], start=1)
    ]
    assert row["sources"] == [f"SQAC:{qa['id']}" for qa in asked["qas"]]
    assert (row["license"], row["origin"]) == ("CC-BY-SA-4.0", "given")
    examples = list(task.load(rows, task.Options()))
    assert {example.inputs["num_questions"] for example in examples} == {3}


def test_an_article_keeps_its_passages_together(tmp_path: Path) -> None:
    rows = build_rows("sqac", {"files": [str(SQAC)]}, tmp_path)
    assert len(rows) == 96
    assert len({row["group"] for row in rows}) == 48


def squad(*qas: dict[str, Any], context: str = "Elvira nació en Soto.") -> str:
    paragraphs = [{"context": context, "qas": list(qas)}]
    return json.dumps({"data": [{"title": "Elvira", "paragraphs": paragraphs}]})


def test_faults_of_a_file_are_counted(tmp_path: Path) -> None:
    right = {"id": "1", "question": "¿Dónde nació?", "answers": [{"text": "en Soto"}]}
    path = tmp_path / "a.json"
    path.write_text(
        squad(
            right,
            {**right, "id": "2", "question": " "},
            {**right, "id": "3", "question": "¿Cuándo?", "answers": [{"text": "en 1931"}]},
            {"id": "4", "question": "¿Quién nació?"},
            {**right, "id": "5", "question": "¿dónde nació?"},
        ),
        "utf-8",
    )
    built = build_recipe("sqac", {"files": [str(path)]}, tmp_path, max_bad_items=0.9)
    assert rows_of(built)[0]["questions"] == "1. ¿Dónde nació?\n2. ¿Quién nació?"
    assert left_out(built) == {
        "a question with no question": 1,
        "an answer that is not in its passage": 1,
    }
    with pytest.raises(UserError, match=r"max_bad_items: 2 of 3 items .* a\.json:3 \(en 1931\)"):
        build_rows("sqac", {"files": [str(path)]}, tmp_path / "strict")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"data": [{"paragraphs": [{"qas": [7]}]}]}', r"not SQuAD's JSON after question 1"),
        ('{"data": [{"paragraphs": 7}]}', "not SQuAD's JSON after question 0"),
        ('{"data": 7}', "without a list"),
        ("[1, 2", "not JSON"),
        ("", r"is empty \(0 bytes\)"),
    ],
)
def test_a_file_of_another_form_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text, "utf-8")
    with pytest.raises(UserError, match=message) as refused:
        build_rows("sqac", {"files": [str(tmp_path / "a.json")]}, tmp_path)
    assert len(refused.value.faults) == 1


def test_an_unknown_article_is_reported(tmp_path: Path) -> None:
    options = {"files": [str(SQAC)], "titles": ["Elvira Nadie"]}
    with pytest.raises(UserError, match=r"options.titles: Elvira Nadie: no article"):
        build_rows("sqac", options, tmp_path)


@pytest.mark.skipif(not PRINTED.exists(), reason="the printed rows of SQAC are not here")
def test_rows_as_the_loader_printed_them_are_read_too(tmp_path: Path) -> None:
    rows = build_rows("sqac", {"files": [str(PRINTED)]}, tmp_path)
    num = sum(len(row["questions"].splitlines()) for row in rows)
    assert num == len(PRINTED.read_text("utf-8").splitlines()) == 5
    assert all(row["group"] for row in rows)


ARTICLES = LECTURAS / "articles.jsonl"
TEXT = "\n\n\n".join(
    f"== {title} ==\n{text}"
    for title, text in {
        "Cría": "Los tritones crían en marzo, p. ej. en Soto. Las hembras cuidan de seis crías.",
        "Dieta": "Los tritones comen caracoles de noche. De día duermen bajo las piedras.",
        "Referencias": "Gil, E. El tritón. Soto, 2019. Este libro no cuenta como pasaje.",
    }.items()
)


def ask(body: dict[str, Any]) -> str:
    """As many questions as are wanted, of the words of the passage."""
    passage = last_user(body).split("\n\nEscribe")[0]
    words = [word.strip(".,") for word in passage.split() if len(word) > 4]
    return json.dumps({"questions": [f"¿Qué se dice de {words[i]} {words[-i]}?" for i in (1, 2)]})


def test_passages_of_wikipedia_are_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    teacher = TeacherServer(ask)
    options = {
        "titles": ["Tritón", "Dragón"],
        "user_agent": "a-test (ana@example.org)",
        "min_words": 8,
        "num_questions": 2,
        "lookups_per_minute": 6000,
    }
    pages = {"Tritón": (71, f"Los tritones son anfibios que viven cerca del agua.\n\n\n{TEXT}")}
    with LookUpServer(mediawiki(pages), tls=tmp_path) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.certificate))
        built = build_recipe(
            "wikipedia", options, tmp_path / "out", teacher=teacher, max_bad_items=0.5
        )
    teacher.close()
    rows = rows_of(built)
    assert [row["passage"].split("\n")[0] for row in rows] == [
        "Los tritones son anfibios que viven cerca del agua.",
        "Cría",
        "Dieta",
    ]
    assert rows[1]["group"] == "es:Tritón"
    assert rows[1]["sources"] == ["https://es.wikipedia.org/?curid=71"]
    assert rows[1]["questions"].startswith("1. ¿Qué se dice de ")
    assert left_out(built) == {"no such article": 1}


def test_articles_of_a_file_need_no_network_and_no_teacher(tmp_path: Path) -> None:
    options = {"articles_file": str(ARTICLES), "num_questions": 2, "min_words": 20}
    built = build_recipe("wikipedia", options | {"questions_by": "template"}, tmp_path)
    rows = rows_of(built)
    assert len(rows) == 56
    assert built.record["num_groups"] == {"train": 14}
    examples = list(task.load(rows, task.Options()))
    assert all(task.score(example, example.target)["quality"] == 1 for example in examples)
    unfilled = build_recipe("wikipedia", options, tmp_path / "none")
    assert unfilled.record["num_rows"] == {"unfilled": 56}


def test_long_sections_are_cut_at_paragraphs_and_sentences(tmp_path: Path) -> None:
    sentence = "El tritón de Soto nada muy bien en marzo."
    text = "\n".join([" ".join([sentence] * 4), sentence, sentence])
    row = {"title": "Tritón", "sections": [{"title": "Vida / Agua", "text": text}]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    options = {
        "articles_file": str(tmp_path / "a.jsonl"),
        "questions_by": "template",
        "num_questions": 1,
        "min_words": 5,
        "max_words": 20,
    }
    passages = [row["passage"] for row in build_rows("wikipedia", options, tmp_path)]
    assert passages == [f"Agua\n{sentence}\n{sentence}"] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"articles_file": None}, "user_agent or articles_file: set exactly one"),
        ({"articles_file": None, "user_agent": "me@example.org"}, "titles: missing"),
        ({"titles": ["Nadie"]}, "options.titles: Nadie: not in"),
        ({"articles_file": str(SQAC)}, r"row 1 is not an article; write"),
        ({"language": "fr"}, "options.language: 'fr'"),
        ({"ask": {"template": "{passage} {nun}"}}, r"unknown placeholder {nun}; did you mean"),
    ],
)
def test_bad_options_are_one_line(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        build_rows("wikipedia", {"articles_file": str(ARTICLES)} | options, tmp_path)
