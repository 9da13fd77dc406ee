"""The page of a sweep: its contents, and that it loads nothing."""

import re
from pathlib import Path

import pytest

from tests.tune.conftest import SweepOf
from tests.tune.trials.test_controller import SECTION, drive, start
from tune.leaderboard.board import Leaderboard, read_leaderboard
from tune.leaderboard.charts import axis_of
from tune.leaderboard.files import leaderboard_markdown, write_leaderboard
from tune.leaderboard.page import render


@pytest.fixture
def board(sweep_of: SweepOf, tmp_path: Path) -> Leaderboard:
    controller = drive(start(sweep_of(SECTION), tmp_path / "sweep"))
    return read_leaderboard(controller, num_threads=1)


def test_the_page_names_the_winner_and_shows_every_trial(board: Leaderboard) -> None:
    html = render(board)
    assert "Trial 1 step 28 (learning_rate 0.003, num_train_epochs 4) is the best of 8" in html
    assert "It is not distinguishable from trial 0 step 14" in html
    assert html.count("<tr class=") == 8 and "stopped by asha after save 1" in html
    for chart in ("parallel coordinates of the trials", "against learning_rate", "over epochs"):
        assert f'aria-label="{chart}' in html or chart in html
    lines = re.findall(r'<g class="line (main|faint)"><path d="M[^"]+"/><title>trial', html)
    assert lines.count("main") == 1 and len(lines) == 8


def test_nothing_is_loaded(board: Leaderboard) -> None:
    html = render(board)
    assert "default-src 'none'" in html and "<script" not in html
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", html)


def test_an_empty_sweep_has_a_page(sweep_of: SweepOf, tmp_path: Path) -> None:
    empty = read_leaderboard(start(sweep_of(SECTION), tmp_path), num_threads=1)
    assert "No checkpoint has been scored yet" in render(empty)
    write_leaderboard(empty)
    assert not (tmp_path / "best.yaml").exists()


def test_the_table_and_the_config_of_the_winner(board: Leaderboard) -> None:
    table = leaderboard_markdown(board).splitlines()
    assert table[0] == "# sweep_text2sql: execution_accuracy"
    assert table[5].startswith("| 1 | 1 | 0.003 | 4 | 0.828 |")
    write_leaderboard(board)
    best = (board.directory / "best.yaml").read_text()
    assert "run_name: sweep_text2sql-best" in best and "cpus_per_worker: 1" in best
    assert "learning_rate: 0.003" in best and "num_train_epochs: 4" in best


def test_axes_are_logarithmic_for_wide_ranges_and_evenly_spaced_for_words() -> None:
    assert axis_of("a.b", [1e-4, 1e-2, 1e-3]).position(1e-3) == pytest.approx(0.5)
    assert axis_of("a.b", [1, 5, 3]).position(3) == pytest.approx(0.5)
    words = axis_of("a.b", ["cosine", "linear", "constant"])
    assert [words.position(w) for w in ("cosine", "linear", "constant")] == [0, 0.5, 1]
    assert axis_of("a.b", [0.5]).position(0.5) == 0
