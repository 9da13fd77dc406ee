"""Charts: ticks, thinning and the places of points, in numbers."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.report.charts import (
    MAX_POINTS,
    Frame,
    Level,
    Point,
    Series,
    histogram,
    line_chart,
    smooth,
    thin,
    tick_text,
    ticks,
)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_even_and_inside(low: float, span: float) -> None:
    high = low + span
    found = ticks(low, high)
    slack = 1e-6 * span + 1e-9 * abs(low)
    assert 2 <= len(found) <= 8
    assert low - slack <= found[0] and found[-1] <= high + slack
    gaps = [b - a for a, b in pairwise(found)]
    assert max(gaps) == pytest.approx(min(gaps), rel=1e-3)


def test_tick_texts() -> None:
    texts = [tick_text(value) for value in (0, 0.25, 3 * 0.2, 1e-3, 2e-4, 1.5e-5, 9999, 12_000)]
    assert texts == ["0", "0.25", "0.6", "1e-3", "2e-4", "1.5e-5", "9999", "12,000"]


@pytest.mark.parametrize("num_points", [1, 400, 401, 12_345])
def test_thinning_keeps_the_mean_and_few_points(num_points: int) -> None:
    points = [Point(i, float(i), f"step {i}") for i in range(num_points)]
    thinned = thin(points)
    assert min(num_points, MAX_POINTS // 2) <= len(thinned) <= MAX_POINTS
    size = -(-num_points // MAX_POINTS)
    assert thinned[0].y == (size - 1) / 2
    assert ("mean of steps 0-" in thinned[0].title) == (size > 1)


def test_smoothing_leaves_a_line_alone() -> None:
    points = [Point(i, 2.0 * i, "") for i in range(20)]
    assert [p.y for p in smooth(points, 5)][2:-2] == [2.0 * i for i in range(2, 18)]


def test_points_whiskers_and_levels_lie_where_they_should() -> None:
    frame = Frame(560, 300, (0.0, 102.0), (0.0, 1.0))
    point = Point(100, 0.5, "half <of> it", low=0.25, high=0.75, chosen=True)
    level = Level("untuned base", 0.1, 0.0, 0.2, "base")
    size = (560.0, 300.0)
    svg = line_chart([Series("m", [point])], label="m", levels=[level], y_range=(0, 1), size=size)
    x = frame.x(100)
    assert f'<path class="whisker" d="M{x:.1f} {frame.y(0.25):.1f}V{frame.y(0.75):.1f}' in svg
    assert f'<circle class="ring" cx="{x:.1f}" cy="{frame.y(0.5):.1f}"' in svg
    assert "<title>half &lt;of&gt; it</title>" in svg
    assert f'y="{frame.y(0.2):.1f}"' in svg and "untuned base: 0.100 [0.000, 0.200]" in svg


def test_histogram_shares_and_counts() -> None:
    counts = {"train": [0, 30, 10], "validation": [2, 2, 0]}
    svg = histogram([0, 10, 20, 30], counts, label="lengths")
    heights = [float(h) for h in re.findall(r'height="([\d.]+)"', svg)]
    assert heights[1] / heights[3] == pytest.approx(0.75 / 0.5, rel=0.01)
    assert heights[0] == heights[5] == 0
    assert "train: 30 rows of 10-20 tokens" in svg


def test_nothing_to_draw_is_said() -> None:
    assert "Nothing to draw" in line_chart([Series("m", [])], label="m")
    nan = [Point(1, float("nan"), "")]
    assert "Nothing to draw" in line_chart([Series("m", nan)], label="m")
    assert "No rows" in histogram([0, 1], {"train": [0]}, label="m")
