"""The page of a sweep: what it says, that nothing is loaded, and that values are escaped."""

import re
from pathlib import Path

import pytest

from tests.tune.conftest import SweepOf
from tests.tune.trials.test_director import SECTION, drive, start
from tune.leaderboard.board import Board, read_board
from tune.leaderboard.charts import axis_of
from tune.leaderboard.files import board_markdown, write_board
from tune.leaderboard.page import render


@pytest.fixture
def board(sweep_of: SweepOf, tmp_path: Path) -> Board:
    director = drive(start(sweep_of(SECTION), tmp_path / "sweep"))
    return read_board(director, num_threads=1)


def test_the_page_names_the_winner_and_shows_every_trial(board: Board) -> None:
    html = render(board)
    assert "Trial 1 step 28 (learning_rate 0.003, num_train_epochs 4) is the best of 8" in html
    assert "It is not distinguishable from trial 0 step 14" in html
    assert html.count("<tr class=") == 8 and "stopped by asha after save 1" in html
    for chart in ("parallel coordinates of the trials", "against learning_rate", "over epochs"):
        assert f'aria-label="{chart}' in html or chart in html
    lines = re.findall(r'<g class="line (main|faint)"><path d="M[^"]+"/><title>trial', html)
    assert lines.count("main") == 1 and len(lines) == 8


def test_nothing_is_loaded_and_a_name_is_no_markup(board: Board) -> None:
    html = render(board)
    assert "default-src 'none'" in html and "<script" not in html
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", html)


def test_an_empty_sweep_has_a_page(sweep_of: SweepOf, tmp_path: Path) -> None:
    empty = read_board(start(sweep_of(SECTION), tmp_path), num_threads=1)
    assert "No checkpoint has been scored yet" in render(empty)
    write_board(empty)
    assert not (tmp_path / "best.yaml").exists()


def test_the_table_and_the_config_of_the_winner(board: Board) -> None:
    table = board_markdown(board).splitlines()
    assert table[0] == "# sweep_text2sql: execution_accuracy"
    assert table[5].startswith("| 1 | 1 | 0.003 | 4 | 0.828 |")
    write_board(board)
    told = (board.directory / "best.yaml").read_text()
    assert "run_name: sweep_text2sql-best" in told and "cpus_per_worker: 1" in told
    assert "learning_rate: 0.003" in told and "num_train_epochs: 4" in told


def test_axes_are_by_logarithm_where_values_span_much_and_in_order_where_they_are_words() -> None:
    assert axis_of("a.b", [1e-4, 1e-2, 1e-3]).place(1e-3) == pytest.approx(0.5)
    assert axis_of("a.b", [1, 5, 3]).place(3) == pytest.approx(0.5)
    words = axis_of("a.b", ["cosine", "linear", "constant"])
    assert [words.place(w) for w in ("cosine", "linear", "constant")] == [0, 0.5, 1]
    assert axis_of("a.b", [0.5]).place(0.5) == 0
