"""The whole page from hand-made records: numbers, self-containment, escaping, partial runs."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from trainers.report.build import write_report
from trainers.run.records import REPORTED_FILES
from trainers.storage.json_files import (
    append_jsonl,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
)

VOID = {"meta", "link", "input", "br"}
MakeRun = Callable[..., Path]


class Balanced(HTMLParser):
    """Fails on an end tag that closes nothing; collects tags and text outside script and style."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data


def parse(path: Path) -> Balanced:
    page = Balanced()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    page.text = re.sub(r"\s+", " ", page.text)
    return page


def num_rows(page: Balanced) -> int:
    return page.text.count("group rutas-")


def test_numbers_of_a_finished_run(make_run: MakeRun) -> None:
    run_dir = make_run()
    path = write_report(run_dir)
    page = parse(path)
    assert path == run_dir / "report.html"
    for expected in (
        "Step 100 answers 0.93 [0.80, 0.97] of 40 held-out rows (execution accuracy); "
        "the untuned base 0.35 [0.22, 0.50], the best constant answer 0.17 [0.09, 0.32]. "
        "It beats the untuned base and the best constant answer. "
        "It is not distinguishable from step 80 on 40 rows in 40 groups.",
        "step 100 beats untuned base by 0.575 [",
        "Execution accuracy by slices.",
        "place=Ordesa",
        "other rows than the reference",
        "147,456",  # trainable parameters
        "180,000",  # tokens: 120 steps of 1,500
        "2,951",  # tokens per second: 180,000 over 119 x 0.5 + 1.5 s
        "2.31 GiB",
        "3.6",  # minutes: 217.1 s
        "step 100 ★ chosen",
        "best constant SELECT NULL",
        "2 groups straddle the given split: 19, 23.",
        "1 of 40 validation rows have the same inputs as a training row: v007 = t4.",
        "6 of 40 validation rows have nearly the same inputs as a training row",
        "v002 ~ t2 (0.86), v003 ~ t3 (0.86), v004 ~ t4 (0.86), …",
        "keep such rows on one side with a column that they share, data.columns: {group: <column>}",
        "longer than max_length",
        "GGUF equals merged: 39/40",
        "612 kB",
        "train 96 s 44 %",
        "learning_rate: 0.001",
    ):
        assert expected in page.text, expected
    assert num_rows(page) == 40
    assert list(run_dir.glob(".*.part")) == []


def test_nothing_external_is_referenced(make_run: MakeRun) -> None:
    path = write_report(make_run())
    html = path.read_text(encoding="utf-8")
    for tag, attributes in parse(path).tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name) or "#"
            assert value.startswith("#") or value == "data:,", (tag, name, value)
    assert not re.search(r"@import|url\(|https?://|\bfetch\(|XMLHttpRequest", html)
    assert "default-src 'none'" in html


def test_markup_in_records_is_text(make_run: MakeRun) -> None:
    run_dir = make_run(num_rows=12, num_checkpoints=1)
    attack = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    path = run_dir / "predictions" / "step-000020.jsonl"
    rows = [row | {"reply": attack, "target": attack + " 1"} for row in read_jsonl(path)]
    rows[0] |= {"reply": "NUL \0, half a character \ud83d, wrong", "id": attack, "group": attack}
    rows[1]["inputs"] = {attack: attack}
    write_jsonl(path, [row | {"reply": row["reply"].replace("\ud83d", "?")} for row in rows])
    text = path.read_text(encoding="utf-8").replace("character ?", "character \\ud83d")
    path.write_text(text, encoding="utf-8")  # as json writes it with ensure_ascii
    write_json(run_dir / "run.json", {"run_name": attack, "status": attack, "error": attack})
    page = parse(write_report(run_dir))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert "img" not in [tag for tag, _ in page.tags]
    assert not [1 for _, attributes in page.tags if "onerror" in attributes]
    assert attack in page.text
    assert "NUL ␀, half a character \ufffd" in page.text


@pytest.mark.parametrize("record", REPORTED_FILES)
def test_a_run_without_one_record(make_run: MakeRun, record: str) -> None:
    run_dir = make_run(num_rows=12, num_checkpoints=2)
    (run_dir / record).rename(run_dir.parent / "gone")
    page = parse(write_report(run_dir))
    assert f"Not written yet: {record}." in page.text
    assert num_rows(page) == (0 if record == "predictions" else 12)


def test_an_empty_run_directory(tmp_path: Path) -> None:
    (tmp_path / "fresh").mkdir()
    page = parse(write_report(tmp_path / "fresh"))
    assert "fresh no run.json yet" in page.text
    assert "No checkpoint has been scored yet" in page.text
    assert f"Not written yet: {', '.join(REPORTED_FILES)}." in page.text
    for absent in ("scores.jsonl", "metrics.jsonl", "predictions", "data.json", "artifact.json"):
        assert f"(no {absent})" in page.text


def test_a_failed_run_in_its_second_epoch(make_run: MakeRun) -> None:
    """A killed writer's torn last line, a checkpoint scored in part, a non-finite loss."""
    run_dir = make_run(num_rows=12, num_checkpoints=2)
    (run_dir / "artifact.json").unlink()
    error = {"status": "failed", "exit_code": 3, "error": "step 41: loss is nan; examples t7"}
    write_json(run_dir / "run.json", read_json(run_dir / "run.json") | error)
    append_jsonl(run_dir / "metrics.jsonl", {"step": 41, "loss": float("nan"), "attempt": 2})
    with (run_dir / "scores.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"name": "step-0000')
    path = run_dir / "predictions" / "step-000040.jsonl"
    write_jsonl(path, list(read_jsonl(path))[:5])
    page = parse(write_report(run_dir))
    assert "(exit code 3)" in page.text and "step 41: loss is nan; examples t7" in page.text
    assert page.text.count("not generated") == 7
    assert num_rows(page) == 12


def test_a_step_done_twice_counts_once(make_run: MakeRun) -> None:
    run_dir = make_run(num_rows=12, num_checkpoints=1)
    rows = list(read_jsonl(run_dir / "metrics.jsonl"))
    for row in rows[10:]:
        append_jsonl(run_dir / "metrics.jsonl", row | {"attempt": 3, "num_tokens": 2_500})
    assert "40,000" in parse(write_report(run_dir)).text  # 10 x 1,500 + 10 x 2,500


def test_size_of_150_rows_and_8_checkpoints(make_run: MakeRun) -> None:
    """Every reply its own 700 characters: the worst that fits is kept whole, and under 2 MB."""
    run_dir = make_run(num_rows=150, num_checkpoints=8)
    assert write_report(run_dir).stat().st_size < 400_000
    for path in (run_dir / "predictions").iterdir():
        rows = list(read_jsonl(path))
        write_jsonl(path, [row | {"reply": f"{path.stem} {i}" * 50} for i, row in enumerate(rows)])
    report = write_report(run_dir)
    assert num_rows(parse(report)) == 150
    assert 800_000 < report.stat().st_size < 2_000_000


def test_what_does_not_fit_is_said(make_run: MakeRun) -> None:
    run_dir = make_run(num_rows=150, num_checkpoints=2)
    for path in (run_dir / "predictions").iterdir():
        rows = list(read_jsonl(path))
        write_jsonl(path, [row | {"reply": f"{path.stem}ñ" * 900} for row in rows])
    report = write_report(run_dir)
    page = parse(report)
    assert 20 < num_rows(page) < 150
    assert f"The first {num_rows(page)} of 150 rows are shown" in page.text
    assert report.stat().st_size < 2_000_000
