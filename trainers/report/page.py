"""The page: sections of values from the records, filled into report.html.j2 (autoescaped).

html = render(read_records(Path("runs/demo")))
"""

import base64
import hashlib
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from datasets_src.prepared.leaks import leak_lines
from datasets_src.split import VALIDATION
from trainers.report.charts import Point, Series, figure, histogram, line_chart, smooth, thin
from trainers.report.records import Records, Row, label_of
from trainers.report.replies import reply_table
from trainers.report.scores import (
    all_metrics,
    chosen_word,
    paired_tests,
    score_figures,
    score_table,
    slice_table,
    verdict,
    words,
)

HERE = Path(__file__).parent
SMOOTH_FROM = 30  # steps; with fewer the raw line is readable
SURROGATE = re.compile(r"[\ud800-\udfff]")  # half a character, as a cut reply may hold
STAGES = ("prepare", "train", "evaluate", "export")


def render(records: Records) -> str:
    """The whole page as one HTML text."""
    script = (HERE / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    html = (
        environment()
        .get_template("report.html.j2")
        .render(
            style=Markup((HERE / "report.css").read_text(encoding="utf-8")),
            script=Markup(script),
            script_hash=f"sha256-{digest}",
            written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            records=records,
            run=records.run,
            data=records.data,
            verdict=verdict(records),
            chosen_word=chosen_word(records),
            key_numbers=key_numbers(records),
            metrics=[words(name) for name in all_metrics(records)],
            score_rows=score_table(records),
            tests=paired_tests(records),
            slices=slice_table(records),
            score_figures=score_figures(records),
            training_figures=training_figures(records.metrics),
            replies=reply_table(records),
            data_figure=data_figure(records.data),
            leaks=leaks(records.data),
            files=files(records),
            stages=stages(records),
            peak_memory=peak_memory_gib(records),
            time_figure=time_figure(records.metrics),
        )
    )
    return SURROGATE.sub("\ufffd", html)


def environment(folder: Path = HERE) -> jinja2.Environment:
    """Templates of a folder, everything escaped; an absent value prints as an en dash."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"count": count, "num": num, "duration": duration, "size": size, "when": when}
    env.globals |= {"label_of": label_of}
    return env


def _absent(value: Any) -> bool:
    return value is None or isinstance(value, jinja2.Undefined)


def count(value: Any) -> str:
    """1,234"""
    return "–" if _absent(value) else f"{value:,}"


def num(value: Any) -> str:
    """0.8333 -> 0.833; text stays text."""
    if _absent(value):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(value: Any) -> str:
    """4.2 s, 12 min 5 s, 3 h 12 min"""
    if _absent(value):
        return "–"
    if value < 99.5:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(value: Any) -> str:
    """3.4 MB (powers of ten, as on the Hub)"""
    if _absent(value):
        return "–"
    units = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
    return next((f"{value / u:.3g} {name}" for u, name in units if value >= u), f"{value} B")


def when(value: Any) -> str:
    """2026-11-20T19:25:11.03Z -> 2026-11-20 19:25"""
    return "–" if _absent(value) else str(value)[:16].replace("T", " ")


def key_numbers(records: Records) -> list[tuple[str, str, str]]:
    """(label, number, small print) of the head's tiles; absent ones say so by an en dash."""
    run, metrics = records.run, records.metrics
    tokens, train_s = _total(metrics, "num_tokens"), _total(metrics, "step_time_s")
    targets, packed = _total(metrics, "num_target_tokens"), _total(metrics, "num_packed_tokens")
    of_these = f"{targets:,} of them targets" if targets else ""
    if packed:
        of_these += f", computed as {packed:,}"
    trainable, total = run.get("num_trainable_parameters"), run.get("num_parameters")
    share = f"{trainable / total:.2%} of {total:,}" if trainable and total else ""
    spent = sum(seconds for _, seconds, _ in stages(records))
    step, peak = (metrics[-1]["step"] if metrics else None), peak_memory_gib(records)
    return [
        ("trainable parameters", count(trainable), share),
        ("steps", count(step), f"of {run['total_steps']:,}" if run.get("total_steps") else ""),
        ("tokens", count(tokens or None), of_these),
        ("tokens per second", f"{tokens / train_s:,.0f}" if train_s else "–", "in training steps"),
        ("minutes", f"{spent / 60:.1f}" if spent else "–", "all stages"),
        ("peak memory", "–" if peak is None else f"{peak:.2f} GiB", "workers together"),
    ]


def peak_memory_gib(records: Records) -> float | None:
    """The run's; while it is not in run.json, the largest that a checkpoint has noted."""
    noted = [row["peak_memory_gib"] for row in records.checkpoints if "peak_memory_gib" in row]
    return records.run.get("peak_memory_gib") or max(noted, default=None)


def _total(rows: Iterable[Row], key: str) -> float:
    return sum(row.get(key) or 0 for row in rows)


def _series(metrics: list[Row], key: str, unit: str = "") -> tuple[list[Series], list[float]]:
    rows = [row for row in metrics if isinstance(row.get(key), int | float)]
    points = thin(
        [
            Point(row["step"], row[key], f"step {row['step']:,}: {row[key]:.4g}{unit}")
            for row in rows
            if math.isfinite(row[key])
        ]
    )
    breaks = [
        float(row["step"])
        for before, row in pairwise(metrics)
        if row.get("attempt") != before.get("attempt")
    ]
    return [Series(key, points)], breaks


def training_figures(metrics: list[Row]) -> list[Markup]:
    """Loss (with its moving average), learning rate and gradient norm over steps."""
    if not metrics:
        return []
    titles = {"loss": "Loss", "learning_rate": "Learning rate", "grad_norm": "Gradient norm"}
    figures = []
    for key, title in titles.items():
        series, breaks = _series(metrics, key)
        legend: list[tuple[str, str]] = []
        points = series[0].points
        if key != "learning_rate" and len(points) >= SMOOTH_FROM:
            window = max(5, len(points) // 20)
            series = [
                Series(key, points, "faint"),
                Series("mean", smooth(points, window), "main"),
            ]
            legend = [("faint", "each step"), ("main", f"mean of {window}")]
        if breaks:
            legend.append(("break", "resumed"))
        chart = line_chart(series, label=f"{title} over steps", breaks=breaks)
        figures.append(figure(title, chart, legend=legend))
    return figures


def time_figure(metrics: list[Row]) -> Markup | None:
    """Seconds of each step."""
    if not metrics:
        return None
    series, breaks = _series(metrics, "step_time_s", " s")
    times = sorted(row["step_time_s"] for row in metrics if row.get("step_time_s"))
    legend = [("main", f"median {times[len(times) // 2]:.2f} s")] if times else []
    chart = line_chart(series, label="step time", breaks=breaks, size=(560, 210))
    return figure("Seconds per step", chart, legend=legend)


def leaks(data: Row) -> list[str]:
    """Warnings about validation rows that are duplicates of training rows."""
    if not data.get("leaks"):
        return []
    num_rows = data["num_rows"][VALIDATION]
    return leak_lines(data["leaks"], num_rows=num_rows, split=str(data.get("split")))


def data_figure(data: Row) -> Markup | None:
    """Row lengths of both splits, each as a share of its rows."""
    lengths = data.get("length_histogram")
    if not lengths:
        return None
    names = [name for name in ("train", "validation") if lengths.get(name)]
    label = "share of rows by length in tokens"
    chart = histogram(lengths["edges"], {name: lengths[name] for name in names}, label=label)
    legend = [(f"s{i + 1}", name) for i, name in enumerate(names)]
    return figure("Row lengths, share of each split", chart, legend=legend)


def files(records: Records) -> list[tuple[str, str, int | None]]:
    """(kind, path, bytes) of every exported file or folder named in artifact.json."""
    found = []
    for kind in ("adapter", "merged", "gguf"):
        entry = records.artifact.get(kind) or []
        for one in entry if isinstance(entry, list) else [entry]:
            path = one.get("path") if isinstance(one, dict) else str(one)
            if path:
                known = one.get("num_bytes") if isinstance(one, dict) else None
                found.append((kind, path, known or _bytes_of(records.run_dir / path)))
    return found


def _bytes_of(path: Path) -> int | None:
    if path.is_dir():
        return sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
    return path.stat().st_size if path.exists() else None


def stages(records: Records) -> list[tuple[str, float, float]]:
    """(stage, seconds, share) as run.json says; while it does not, from the steps and scores."""
    times = records.run.get("time_s") or {
        "train": _total(records.metrics, "step_time_s"),
        "evaluate": _total(records.scores, "seconds"),
    }
    names = [*STAGES, *(name for name in times if name not in STAGES)]
    spent = [(name, float(times[name])) for name in names if times.get(name)]
    total = sum(seconds for _, seconds in spent)
    return [(name, seconds, seconds / total) for name, seconds in spent]
