"""Replies side by side: identical ones written once, differences marked, nothing lost."""

import html
import re
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.report.records import read_records
from trainers.report.replies import marked, reply_table, visible
from trainers.storage.json_files import read_jsonl, write_jsonl


def test_marks_what_the_target_lacks_and_where_it_has_more() -> None:
    target = "SELECT nombre FROM rutas WHERE km > 5"
    assert marked("select nombre FROM rutas WHERE km > 5", target) == (
        "select nombre FROM rutas WHERE km &gt; 5"
    )
    assert "<mark>7</mark>" in marked("SELECT nombre FROM rutas WHERE km > 7", target)
    assert 'title="missing: WHERE km &gt; 5"' in marked("SELECT nombre FROM rutas", target)
    assert marked("no sé", target) == "no sé"


@settings(max_examples=60)
@given(st.text("ab <&>,\n'", max_size=30), st.text("ab <&>,\n'", max_size=30))
def test_marking_keeps_every_character(reply: str, target: str) -> None:
    assert html.unescape(re.sub(r"<[^>]*>", "", str(marked(reply, target)))) == reply


def test_control_characters_are_shown() -> None:
    assert visible("a\0b\x1b\x7f\tc\nd") == "a␀b␛␡\tc\nd"


def test_the_task_says_what_is_right(make_run: Callable[..., Path]) -> None:
    """Whatever metric chooses; rows without its word go by the metric."""
    run_dir = make_run(num_rows=12, num_checkpoints=1)
    path = run_dir / "predictions/base.jsonl"
    rows = list(read_jsonl(path))
    rows[0] |= {"why": "<b> & 1 of 2 missing", "scores": {"execution_accuracy": 1.0}}
    rows[1] |= {"why": "", "scores": {"execution_accuracy": 0.5}}
    del rows[2]["why"]
    rows[2]["scores"] = {"execution_accuracy": 1.0}
    write_jsonl(path, rows)
    table = reply_table(read_records(run_dir))
    assert table is not None
    first = [row.cells[0] for row in table.rows[:3]]
    assert [cell.right for cell in first if cell] == [False, True, True]
    assert first[0] is not None and first[0].why == "<b> & 1 of 2 missing"
    assert '<p class="why">&lt;b&gt; &amp; 1 of 2 missing</p>' in first[0].html


def test_a_repeated_reply_points_at_its_first_column(make_run: Callable[..., Path]) -> None:
    table = reply_table(read_records(make_run()))
    assert table is not None
    assert table.columns == ["untuned base", *(f"step {20 * i}" for i in range(1, 7))]
    assert (table.chosen, table.num_rows, len(table.rows)) == (5, 40, 40)
    for row in table.rows:
        cells = [cell for cell in row.cells if cell is not None]
        firsts = [cell for cell in cells if cell.same_as is None]
        assert [cell.key for cell in firsts] == list(range(len(firsts)))
        for cell in cells:
            source = firsts[cell.key]
            assert source.right == cell.right
            assert cell is source or (cell.html == "" and cell.same_as is not None)
    whys = {cell.why for row in table.rows for cell in row.cells if cell is not None}
    assert whys == {"", "other rows than the reference", "not valid SQL"}
    wrong = [sum(row.cells[c].right is False for row in table.rows) for c in (0, 1, 5)]  # type: ignore[union-attr]
    assert wrong == [26, 17, 3]
