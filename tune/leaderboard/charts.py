"""Charts of a sweep as inline SVG, in the style of a run's report (trainers/report/charts.py).

parallel_coordinates(board), metric_against(board, "train.learning_rate"), curves(board)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from trainers.report.charts import (
    BOTTOM,
    TOP,
    Frame,
    Level,
    Point,
    Series,
    figure,
    grid,
    line_chart,
    name_x,
    svg,
    x_tick,
)
from trainers.report.scores import y_range_of
from tune.leaderboard.board import Entry, Leaderboard
from tune.leaderboard.files import format_value

WIDE = (1120.0, 320.0)
MIDDLE = (560.0, 300.0)


@dataclass(frozen=True)
class Axis:
    """A vertical axis for one field: the position of each value, from 0 (bottom) to 1."""

    name: str
    positions: dict[str, float]

    def position(self, value: Any) -> float:
        """The position of a value."""
        return self.positions[format_value(value)]


def axis_of(name: str, values: Sequence[Any]) -> Axis:
    """Numbers to scale (logarithmic above a factor of ten), other values at equal distances."""
    leaf = name.rsplit(".", 1)[-1]
    distinct = list({format_value(value): value for value in values}.values())
    numbers = [v for v in distinct if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(distinct):
        step = 1 / max(len(distinct) - 1, 1)
        return Axis(leaf, {format_value(value): i * step for i, value in enumerate(distinct)})
    low, high = min(numbers), max(numbers)
    scaled = _scale(low, high)
    width = (scaled(high) - scaled(low)) or 1.0
    return Axis(leaf, {format_value(v): (scaled(v) - scaled(low)) / width for v in numbers})


def _scale(low: float, high: float) -> Any:
    return math.log if low > 0 and high > 10 * low else float


def parallel_coordinates(board: Leaderboard) -> Markup | None:
    """A line per scored trial through its values to its metric; the winner's is highlighted."""
    entries = [entry for entry in board.entries if entry.value is not None]
    if not entries:
        return None
    names = board.names
    axes = [axis_of(name, [e.trial.values.get(name) for e in entries]) for name in names]
    axes.append(axis_of(board.sweep.metric, [entry.value for entry in entries]))
    width, height = WIDE
    xs = [90 + i * (width - 180) / (len(axes) - 1) for i in range(len(axes))]

    def y(share: float) -> float:
        return height - BOTTOM - share * (height - TOP - 2 * BOTTOM)

    parts = []
    for entry in reversed(entries):  # the best on top
        values = [*(entry.trial.values.get(name) for name in names), entry.value]
        pairs = zip(xs, axes, values, strict=True)
        line = "L".join(f"{x:.1f} {y(axis.position(value)):.1f}" for x, axis, value in pairs)
        style = "main" if entry is board.best else "faint"
        title = escape(_title(entry))
        parts.append(f'<g class="line {style}"><path d="M{line}"/><title>{title}</title></g>')
    for x, axis in zip(xs, axes, strict=True):
        parts.append(f'<path class="grid zero" d="M{x:.1f} {y(1):.1f}V{y(0):.1f}"/>')
        parts.append(_text(x, height - 8, escape(axis.name)))
        parts += [_text(x + 8, y(at) + 4, escape(text), "start") for text, at in _labels(axis)]
    chart = svg(parts, WIDE, "parallel coordinates of the trials")
    return figure("Values and metric", chart, legend=[("main", "winner"), ("faint", "others")])


def _labels(axis: Axis) -> list[tuple[str, float]]:
    """The labels of an axis that do not overlap."""
    shown: list[tuple[str, float]] = []
    for text, at in sorted(axis.positions.items(), key=lambda pair: pair[1]):
        if not shown or at - shown[-1][1] > 0.05:
            shown.append((text, at))
    return shown


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text class="value" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def metric_against(board: Leaderboard, name: str) -> Markup | None:
    """Each trial's best checkpoint against one numeric field, with its interval."""
    entries = [e for e in board.entries if e.score and isinstance(e.trial.values.get(name), float)]
    if len(entries) < 2:
        return None
    xs = [float(entry.trial.values[name]) for entry in entries]
    scaled = _scale(min(xs), max(xs))
    low, high = scaled(min(xs)), scaled(max(xs))
    margin = 0.06 * ((high - low) or 1.0)
    top = max(entry.score.intervals[entry.score.metric][1] for entry in entries if entry.score)
    y_range = y_range_of(board.sweep.metric) or (0.0, 1.06 * top)
    frame = Frame(*MIDDLE, (low - margin, high + margin), y_range)
    leaf = name.rsplit(".", 1)[-1]
    parts = [grid(frame), name_x(frame, leaf.replace("_", " "))]
    last = -math.inf
    for value in sorted(set(xs)):
        if (at := frame.x(scaled(value))) - last > 52:
            parts.append(x_tick(frame, scaled(value), format_value(value)))
            last = at
    for entry in reversed(entries):
        parts.append(_mark(entry, frame, scaled(float(entry.trial.values[name])), board))
    metric = board.sweep.metric.replace("_", " ")
    chart = svg(parts, MIDDLE, f"{metric} against {leaf}")
    legend = [("main", "best checkpoint of a trial, 95 % interval"), ("ring", "winner")]
    return figure(f"{metric.capitalize()} against {leaf.replace('_', ' ')}", chart, legend=legend)


def _mark(entry: Entry, frame: Frame, x: float, board: Leaderboard) -> str:
    assert entry.score is not None and entry.value is not None
    low, high = entry.score.intervals[entry.score.metric]
    at, y = frame.x(x), frame.y(entry.value)
    whisker = f"M{at:.1f} {frame.y(low):.1f}V{frame.y(high):.1f}"
    ring = f'<circle class="ring" cx="{at:.1f}" cy="{y:.1f}" r="8.5"/>'
    return (
        f'<g class="line main"><path class="whisker" d="{whisker}"/>'
        f"{ring if entry is board.best else ''}"
        f'<circle class="dot" cx="{at:.1f}" cy="{y:.1f}" r="4.2">'
        f"<title>{escape(_title(entry))}</title></circle></g>"
    )


def curves(board: Leaderboard) -> Markup | None:
    """The metric over epochs, one line per run; trials that share a run share its line."""
    longest = {entry.run.key: entry for entry in sorted(board.entries, key=lambda e: len(e.curve))}
    if not any(entry.curve for entry in longest.values()):
        return None
    winner = board.best.run.key if board.best else None
    series = [
        Series(
            entry.trial.key,
            [_curve_point(epoch, value, entry, board) for epoch, value in entry.curve],
            "main" if entry.run.key == winner else "faint",
            dots=True,
        )
        for entry in sorted(longest.values(), key=lambda e: e.run.key == winner)
    ]
    levels = [
        Level(s.name, s.metrics[s.metric], *s.intervals[s.metric], style=s.name)
        for s in board.baselines
    ]
    metric = board.sweep.metric.replace("_", " ")
    chart = line_chart(
        series,
        label=f"{metric} over epochs",
        levels=levels,
        y_range=y_range_of(board.sweep.metric),
        size=MIDDLE,
        x_name="epoch",
    )
    legend = [("main", "winner's run"), ("faint", "others")]
    legend += [(level.style, f"{level.name} {level.value:.2f}") for level in levels]
    return figure("Curves", chart, legend=legend)


def _curve_point(epoch: float, value: float, entry: Entry, board: Leaderboard) -> Point:
    best = board.best
    chosen = best is not None and entry.run.key == best.run.key and epoch == best.epoch
    title = f"{_values(entry)}, epoch {epoch:g}: {value:.3f}"
    return Point(epoch, value, title, chosen=chosen)


def _values(entry: Entry) -> str:
    parts = entry.trial.values.items()
    return ", ".join(f"{name.rsplit('.', 1)[-1]} {format_value(value)}" for name, value in parts)


def _title(entry: Entry) -> str:
    value = f"{entry.value:.3f}" if entry.value is not None else "no score"
    return f"trial {entry.trial.number}: {_values(entry)}: {value} ({entry.state})"
