"""Charts as inline SVG: crisp at any size, text as text, colours by CSS (dark mode), a tooltip
on every point.

    figure("Loss", line_chart([Series("loss", points)], label="loss over steps"))

Why not matplotlib: its SVG fixes colours and fonts at draw time, has no tooltips, and weighs
30-60 kB a chart; these are 1-20 kB and follow the page's style.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

MAX_POINTS = 400  # more hover targets than pixels help nobody
LEFT, RIGHT, TOP, BOTTOM = 46.0, 10.0, 14.0, 38.0


@dataclass(frozen=True)
class Point:
    """One value at step `x`, with a tooltip; `low` and `high` draw a whisker."""

    x: float
    y: float
    title: str
    low: float | None = None
    high: float | None = None
    chosen: bool = False


@dataclass(frozen=True)
class Series:
    """Points joined by a line; `style` is a CSS class: main, faint, s1, s2, s3."""

    name: str
    points: Sequence[Point]
    style: str = "main"
    dots: bool = False


@dataclass(frozen=True)
class Level:
    """A horizontal line with its interval as a band, e.g. the untuned base."""

    name: str
    value: float
    low: float
    high: float
    style: str


@dataclass(frozen=True)
class Frame:
    """Maps values to the pixels of one plot area."""

    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        """Horizontal pixel of `value`."""
        low, high = self.x_range
        return LEFT + (value - low) / (high - low) * (self.width - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Vertical pixel of `value`; larger values are higher up."""
        low, high = self.y_range
        return self.height - BOTTOM - (value - low) / (high - low) * (self.height - TOP - BOTTOM)


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` multiples of 1, 2 or 5 times a power of ten within [low, high]."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.7)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def tick_text(value: float) -> str:
    """0.25, 1,200, 2e-4."""
    if value == 0 or 1e-3 < abs(value) < 1e4:
        return f"{value:.6g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}" if abs(value) < 1 else f"{value:,.0f}"


def thin(points: Sequence[Point]) -> list[Point]:
    """At most MAX_POINTS points: means of consecutive ones; the tooltip states it."""
    size = math.ceil(len(points) / MAX_POINTS)
    if size <= 1:
        return list(points)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [_mean(group) for group in groups]


def smooth(points: Sequence[Point], window: int) -> list[Point]:
    """Centred moving average over `window` points (fewer at both ends)."""
    half = window // 2
    spans = [points[max(0, i - half) : i + half + 1] for i in range(len(points))]
    return [
        Point(point.x, sum(p.y for p in span) / len(span), "")
        for point, span in zip(points, spans, strict=True)
    ]


def line_chart(
    series: Sequence[Series],
    *,
    label: str,
    levels: Sequence[Level] = (),
    breaks: Sequence[float] = (),
    y_range: tuple[float, float] | None = None,
    size: tuple[float, float] = (360, 210),
    x_name: str = "step",
) -> Markup:
    """Lines over steps, or what `x_name` says. `levels` are horizontal bands, `breaks` vertical
    lines (resumed there).

    The y axis starts at 0 unless `y_range` says otherwise, so that heights may be compared.
    """
    points = [point for one in series for point in one.points if math.isfinite(point.y)]
    if not points:
        return Markup('<p class="absent">Nothing to draw yet.</p>')
    tops = [*(max(p.y, p.high or p.y) for p in points), *(level.high for level in levels)]
    top, low = max(tops) or 1.0, min(0.0, *(p.y for p in points))
    right = max(max(p.x for p in points), 1.0)
    frame = Frame(*size, (0.0, right * 1.02), y_range or (low, top * 1.06 if top > 0 else 1.0))
    parts = [_axes(frame, x_name)]
    parts += [_level(level, frame) for level in levels]
    parts += [
        f'<path class="break" d="M{frame.x(step):.1f} {TOP}V{size[1] - BOTTOM}">'
        f"<title>resumed at step {step:,.0f}</title></path>"
        for step in breaks
    ]
    parts += [_series(one, frame) for one in series]
    return svg(parts, size, label)


def histogram(
    edges: Sequence[float],
    counts: Mapping[str, Sequence[int]],
    *,
    label: str,
    size: tuple[float, float] = (560, 230),
) -> Markup:
    """Bars of the share of each split in each bin, side by side; the tooltip has the counts."""
    shares = {name: _shares(values) for name, values in counts.items()}
    top = max((share for values in shares.values() for share in values), default=0.0)
    if not top:
        return Markup('<p class="absent">No rows to draw.</p>')
    num_bins = len(edges) - 1
    frame = Frame(*size, (0.0, float(num_bins)), (0.0, top * 1.08))
    width = 0.84 / len(counts)
    parts = [grid(frame, percent=True)]
    for place, (name, values) in enumerate(shares.items()):
        for i, share in enumerate(values):
            x0, x1 = frame.x(i + 0.08 + place * width), frame.x(i + 0.08 + (place + 1) * width)
            title = f"{name}: {counts[name][i]:,} rows of {edges[i]:,g}-{edges[i + 1]:,g} tokens"
            parts.append(
                f'<rect class="bar s{place + 1}" x="{x0:.1f}" y="{frame.y(share):.1f}" '
                f'width="{x1 - x0:.1f}" height="{frame.y(0) - frame.y(share):.1f}">'
                f"<title>{escape(title)}</title></rect>"
            )
    every = math.ceil(len(edges) / 8)
    for i in range(0, len(edges), every):
        parts.append(x_tick(frame, i, tick_text(edges[i])))
    parts.append(name_x(frame, "tokens in a row"))
    return svg(parts, size, label)


def figure(title: str, chart: Markup, *, legend: Sequence[tuple[str, str]] = ()) -> Markup:
    """A chart under its title; `legend` pairs a CSS style with a text."""
    keys = Markup("").join(
        Markup('<span class="key"><i class="{}"></i>{}</span> ').format(style, text)
        for style, text in legend
    )
    return Markup("<figure><figcaption><b>{}</b> {}</figcaption>{}</figure>").format(
        title, keys, chart
    )


def svg(parts: Sequence[str], size: tuple[float, float], label: str) -> Markup:
    """A chart of parts that are SVG already."""
    kind = "wide" if size[0] > 400 else "small"
    head = f'<svg class="{kind}" viewBox="0 0 {size[0]:g} {size[1]:g}" role="img" aria-label='
    return Markup(f'{head}"{escape(label)}">{"".join(parts)}</svg>')


def _axes(frame: Frame, x_name: str) -> str:
    labels = [x_tick(frame, x, tick_text(x)) for x in ticks(*frame.x_range, 5) if x % 1 == 0]
    return grid(frame) + "".join(labels) + name_x(frame, x_name)


def grid(frame: Frame, *, percent: bool = False) -> str:
    """Horizontal lines with their values."""
    parts = []
    for value in ticks(*frame.y_range):
        y, text = frame.y(value), f"{value:.0%}" if percent else tick_text(value)
        zero = " zero" if value == 0 else ""
        parts.append(f'<path class="grid{zero}" d="M{LEFT:g} {y:.1f}H{frame.width - RIGHT:g}"/>')
        parts.append(f'<text class="y" x="{LEFT - 7:g}" y="{y + 4:.1f}">{text}</text>')
    return "".join(parts)


def x_tick(frame: Frame, value: float, text: str) -> str:
    """A text below the plot at `value`."""
    return (
        f'<text class="x" x="{frame.x(value):.1f}" y="{frame.height - BOTTOM + 16}">{text}</text>'
    )


def name_x(frame: Frame, name: str) -> str:
    """What the horizontal axis shows."""
    return (
        f'<text class="x name" x="{frame.width - RIGHT:g}" y="{frame.height - 4:g}">{name}</text>'
    )


def _level(level: Level, frame: Frame) -> str:
    high, low, y = frame.y(level.high), frame.y(level.low), frame.y(level.value)
    width = frame.width - LEFT - RIGHT
    title = escape(f"{level.name}: {level.value:.3f} [{level.low:.3f}, {level.high:.3f}]")
    return (
        f'<g class="level {level.style}"><title>{title}</title><rect x="{LEFT:g}" y="{high:.1f}" '
        f'width="{width:g}" height="{max(low - high, 0):.1f}"/>'
        f'<path d="M{LEFT:g} {y:.1f}h{width:g}"/></g>'
    )


def _series(series: Series, frame: Frame) -> str:
    points = [point for point in series.points if math.isfinite(point.y)]
    line = "L".join(f"{frame.x(p.x):.1f} {frame.y(p.y):.1f}" for p in points)
    dots = "".join(_dot(point, frame, shown=series.dots) for point in points if point.title)
    return f'<g class="line {series.style}"><path d="M{line}"/>{dots}</g>'


def _dot(point: Point, frame: Frame, *, shown: bool) -> str:
    x, y = frame.x(point.x), frame.y(point.y)
    parts = []
    if point.low is not None and point.high is not None:
        low, high = frame.y(point.low), frame.y(point.high)
        parts.append(
            f'<path class="whisker" d="M{x:.1f} {low:.1f}V{high:.1f}'
            f'M{x - 4:.1f} {low:.1f}h8M{x - 4:.1f} {high:.1f}h8"/>'
        )
    if point.chosen:
        parts.append(f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="8.5"/>')
    kind, radius = ("dot", 4.2) if shown else ("pt", 5)
    title = f"<title>{escape(point.title)}</title>"
    parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">{title}</circle>')
    return "".join(parts)


def _mean(group: Sequence[Point]) -> Point:
    y = sum(point.y for point in group) / len(group)
    title = f"mean of steps {group[0].x:,.0f}-{group[-1].x:,.0f}: {y:.4g}"
    return Point(group[len(group) // 2].x, y, title)


def _shares(values: Sequence[int]) -> list[float]:
    total = sum(values)
    return [value / total if total else 0.0 for value in values]
