"""`python -m jobs.build`: a kill at any row, one line for each fault, what it prints."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import openpyxl
import pytest

from datasets_src.errors import UserError
from jobs.build import main
from tests.servers.teacher_server import TeacherServer, last_user

ROOT = Path(__file__).resolve().parents[2]
WISHES = ROOT / "datasets_src/shipped/fauna/material/wishes.jsonl"
FAUNA = "jobs/recipes/fauna.yaml"
PARALLEL = 4


@pytest.fixture
def server() -> Iterator[TeacherServer]:
    made = TeacherServer(lambda body: f"{re.findall('Texto: (.*?)[.]', last_user(body))[0]}.")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def command(server: TeacherServer, out: Path) -> list[str]:
    given = [f"teacher.base_url={server.base_url}", "teacher.model=m", f"max_parallel={PARALLEL}"]
    return [sys.executable, "-m", "jobs.build", FAUNA, f"output_dir={out}", *given]


def files(directory: Path) -> dict[str, bytes]:
    paths = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def test_a_kill_at_a_random_row_asks_nothing_twice(server: TeacherServer, tmp_path: Path) -> None:
    server.delay_s = 0.05
    num_before = Random(os.getpid()).randint(3, 25)
    with subprocess.Popen(command(server, tmp_path / "a"), cwd=ROOT) as process:
        while server.answered().total() < num_before and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    assert process.returncode == -signal.SIGKILL
    time.sleep(0.3)
    under_way = {a.key for a in server.log if a.ended is None or a.ended > killed - 0.25}
    for _ in range(2):
        done = subprocess.run(command(server, tmp_path / "a"), cwd=ROOT, check=False)
        assert done.returncode == 0
    twice = {key for key, num in server.answered().items() if num > 1}
    assert twice <= under_way, "only what was on its way when it was killed"
    assert len(twice) <= PARALLEL
    assert len(server.answered()) == 32
    subprocess.run(command(server, tmp_path / "b"), cwd=ROOT, check=True)
    assert files(tmp_path / "a/fauna") == files(tmp_path / "b/fauna")


def test_ctrl_c_keeps_what_is_under_way(server: TeacherServer, tmp_path: Path) -> None:
    server.delay_s = 0.3
    process = subprocess.Popen(
        command(server, tmp_path), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    while server.answered().total() < 2 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "to resume, run: python -m jobs.build" in output
    num_answered = server.answered().total()
    kept = (tmp_path / ".replies/fauna.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(kept) == num_answered < 32


def test_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([FAUNA, f"output_dir={tmp_path}"]) == 0
    output = capsys.readouterr().out
    assert f"dataset     {tmp_path}/fauna\n" in output
    assert "train       336 rows, 56 groups\n" in output
    assert "origin      72 copy, 96 prefix, 216 suffix, 96 unfilled\n" in output
    assert main([FAUNA, f"output_dir={tmp_path}"]) == 0
    assert "(already built)" in capsys.readouterr().out


def test_a_fault_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.build", FAUNA, f"output_dir={tmp_path}", "kind=biosendas"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: kind: 'biosendas' is not a recipe kind; did you mean biosenda? known: biosenda\n"
    ) or re.fullmatch(r"error: kind: 'biosendas' .*did you mean biosenda\?.*\n", done.stderr)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("max_prize=3", r"max_prize: unknown key; did you mean teacher\.max_price\?"),
        ("num_threads=0", r"num_threads: 0 should be greater than or equal to 1"),
        ("rewrite.template=Adapta {deskription}", r"did you mean {description}\?"),
        ("database=nowhere.sql", r"options\.database: .*nowhere\.sql does not exist"),
        ("species_file=none.jsonl", r"options\.species_file: none\.jsonl: no such file"),
        ("species_columns={id: clave}", r"row 1: nothing in column 'clave'; present: id, science"),
        ("families={rute: {form: copy}}", r"options\.families\.rute: no prompt has this group"),
        ("families={rutas: {form: infix}}", r"options\.families\.rutas\.form"),
        ("teacher.model=m", r"base_url or gguf_file: set exactly one of them"),
        ("gguf_file=no.gguf", r"teacher\.gguf_file: no\.gguf: no such file"),
        (
            "base_url=http://127.0.0.1:9/v1 teacher.model=m api_key_env=NO_SUCH_KEY",
            r"NO_SUCH_KEY is not set",
        ),
        ("tokenizer=nowhere", r"lengths\.tokenizer: nowhere"),
        ("max_input_tokens=5", r"lengths: none of 480 rows is within the limits"),
    ],
)
def test_bad_input(tmp_path: Path, given: str, message: str) -> None:
    overrides = re.split(r" (?=[\w.]+=)", given)
    with pytest.raises(UserError, match=message):
        main([FAUNA, f"output_dir={tmp_path}", *overrides])


def test_a_workbook_with_two_sheets_of_rows_is_refused(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    rows = [json.loads(line) for line in WISHES.open()]
    for title in ("Hoja1", "Hoja2"):
        sheet = book.create_sheet(title)
        sheet.append(list(rows[0]))
        for row in rows:
            sheet.append(list(row.values()))
    del book["Sheet"]
    book.save(tmp_path / "wishes.xlsx")
    with pytest.raises(UserError, match=r"wishes\.xlsx: 2 sheets have rows \('Hoja1', 'Hoja2'\)"):
        main([FAUNA, f"output_dir={tmp_path}", f"prompts_file={tmp_path}/wishes.xlsx"])
    del book["Hoja2"]
    book.create_sheet("Notas").append([])
    book.save(tmp_path / "wishes.xlsx")
    assert main([FAUNA, f"output_dir={tmp_path}", f"prompts_file={tmp_path}/wishes.xlsx"]) == 0


def test_help_lists_the_keys_of_the_kind(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([FAUNA, "--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert "teacher.max_price" in output
    assert "options.species_per_prompt" in output
