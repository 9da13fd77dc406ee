"""Scores of a run as a reader wants them: which checkpoint, how sure, against what.

verdict(records).text
"Step 140 answers 0.83 [0.76, 0.88] of 150 held-out rows (execution accuracy); the untuned
 base 0.41 [0.33, 0.49], the best constant answer 0.19 [0.13, 0.26]. It beats the untuned base and
 the best constant answer. It is not distinguishable from step 120 on 150 rows in 50 groups."
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from datasets_src.scoring.paired import Comparison
from datasets_src.task import EVAL_LOSS
from trainers.report.charts import Level, Point, Series, figure, line_chart
from trainers.report.records import Records, Row, label_of, step_of
from trainers.run.scores import (
    BASELINE_TITLES,
    BASELINES,
    best_score,
    compare_with_baselines,
)

STYLES = ("s1", "s2", "s3", "s4")


@dataclass(frozen=True)
class Verdict:
    """One sentence or two, and its tone: good, open (not certain) or none (no scores)."""

    text: str
    tone: str


@dataclass(frozen=True)
class SliceTable:
    """`rows` are (slice, n, a cell for each column)."""

    columns: list[str]
    rows: list[tuple[str, int, list[tuple[float, float, float] | None]]]


def words(metric: str) -> str:
    """execution accuracy"""
    return metric.replace("_", " ")


def y_range_of(metric: str) -> tuple[float, float] | None:
    """Of a chart; None: as the values ask for."""
    return None if metric == EVAL_LOSS else (0, 1.04)


def main_metric(records: Records) -> str:
    """The metric that chooses the checkpoint; "" while nothing is scored."""
    return str(records.scores[-1]["metric"]) if records.scores else ""


def all_metrics(records: Records) -> list[str]:
    """Every metric of any score, the choosing one first."""
    main = main_metric(records)
    names = dict.fromkeys(name for score in records.scores for name in score["metrics"])
    return sorted(names, key=lambda name: name != main)


def chosen_name(records: Records) -> str | None:
    """The best checkpoint by the run's own rule; None before any is scored."""
    best = best_score(records.run_dir)
    return None if best is None else best.name


def chosen_word(records: Records) -> str:
    """What the chosen checkpoint is called; a later one may still beat it while training."""
    return "best so far" if records.run.get("status") == "running" else "chosen"


def interval(score: Row, metric: str) -> tuple[float, float, float]:
    """Value, low, high; an interval that is not there has the value's own width of 0."""
    value = float(score["metrics"].get(metric, float("nan")))
    low, high = score.get("intervals", {}).get(metric) or (value, value)
    return value, float(low), float(high)


def verdict(records: Records) -> Verdict:
    """What the run shows against the baselines: scores with intervals, and the paired tests."""
    scores, metric = {score["name"]: score for score in records.scores}, main_metric(records)
    name = chosen_name(records)
    if name is None:
        return Verdict("No checkpoint has been scored yet.", "none")
    score = scores[name]
    label, value = label_of(name).capitalize(), _value_text(score, metric)
    text = f"{label} answers {value} of {score['n']:,} held-out rows ({words(metric)})"
    if metric == EVAL_LOSS:
        text = f"{label} has a loss of {value} nats a token on {score['n']:,} held-out rows"
    baselines = [baseline for baseline in BASELINES if baseline in scores]
    if not baselines:
        return Verdict(f"{text}. No baseline was scored.", "open")
    against = ", ".join(f"{called(r)} {_value_text(scores[r], metric)}" for r in baselines)
    found = compare_with_baselines(records.run_dir)
    beats_all = all(baseline in found and found[baseline].winner > 0 for baseline in baselines)
    sentence = " ".join([f"{text}; {against}.", *_conclusions(found, baselines)])
    return Verdict(sentence, "good" if beats_all else "open")


def _conclusions(found: Mapping[str, Comparison], baselines: Sequence[str]) -> list[str]:
    """What the paired tests say of the baselines and of the second-best checkpoint."""
    won, open_, lost = (
        _listed(name for name, test in found.items() if test.winner == winner)
        for winner in (1, 0, -1)
    )
    untested = _listed(name for name in baselines if name not in found)
    tests = list(found.values())
    on = f"on {tests[0].n:,} rows in {tests[0].num_groups:,} groups" if tests else ""
    sentences = {
        f"It beats {won}.": won,
        f"It does not beat {lost}, which is better.": lost,
        f"It is not distinguishable from {open_} {on}.": open_,
        f"There are no replies to test it against {untested}.": untested,
    }
    return [sentence for sentence, names in sentences.items() if names]


def _listed(names: Iterable[str]) -> str:
    *first, last = [called(name) for name in names] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def called(name: str) -> str:
    """In a sentence: the untuned base, step 140."""
    return f"the {BASELINE_TITLES[name]}" if name in BASELINE_TITLES else label_of(name)


def paired_tests(records: Records) -> list[str]:
    """One line for each test of the chosen checkpoint."""
    chosen = chosen_name(records)
    found = compare_with_baselines(records.run_dir)
    return [
        test.summary_line(label_of(chosen or ""), label_of(name)) for name, test in found.items()
    ]


def _value_text(score: Row, metric: str) -> str:
    value, low, high = interval(score, metric)
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def score_table(records: Records) -> list[dict[str, Any]]:
    """One row a score: label, note, epoch, n, seconds, and a (value, low, high, n) per metric.

    The last is 0 where the metric applies to all rows.
    """
    epochs = {row["step"]: row.get("epoch") for row in records.checkpoints}
    chosen = chosen_name(records)
    return [
        {
            "label": label_of(score["name"]),
            "reply": score.get("constant_reply"),
            "chosen": score["name"] == chosen,
            "baseline": score["name"] in BASELINES,
            "epoch": epochs.get(step_of(score["name"])),
            "n": score["n"],
            "seconds": score.get("seconds"),
            "metrics": [
                (*interval(score, metric), _own_n(score, metric))
                if metric in score["metrics"]
                else None
                for metric in all_metrics(records)
            ],
        }
        for score in records.scores
    ]


def _own_n(score: Row, metric: str) -> int:
    n: int = score.get("num_rows", {}).get(metric, score["n"])
    return 0 if n == score["n"] else n


def slice_table(records: Records) -> SliceTable | None:
    """The choosing metric by slices, for the baselines and the chosen checkpoint, if there are any.

    A cell is (value, low, high), or None.
    """
    shown = [s for s in records.scores if s["name"] in (*BASELINES, chosen_name(records))]
    names = dict.fromkeys(name for score in shown for name in score.get("slices") or {})
    if not names:
        return None
    rows = []
    for name in names:
        parts = [(score.get("slices") or {}).get(name) for score in shown]
        cells = [part and (part["value"], *part["interval"]) for part in parts]
        rows.append((name, max(part["n"] for part in parts if part), cells))
    return SliceTable([label_of(score["name"]) for score in shown], rows)


def score_figures(records: Records) -> list[Markup]:
    """The choosing metric with whiskers and baselines, and every metric as a line."""
    metric, chosen = main_metric(records), chosen_name(records)
    series = _metric_series(records, metric, style="main", chosen=chosen)
    if not series.points:
        return []
    levels = [
        Level(label_of(score["name"]), *interval(score, metric), style=score["name"])
        for score in records.scores
        if score["name"] in BASELINES and metric in score["metrics"]
    ]
    legend = [("main", "checkpoint, 95 % interval"), ("ring", chosen_word(records))]
    legend += [(level.style, f"{level.name} {level.value:.2f}") for level in levels]
    label, size = f"{words(metric)} over steps", (560.0, 300.0)
    y_range = y_range_of(metric)
    chart = line_chart([series], label=label, levels=levels, y_range=y_range, size=size)
    figures = [figure(words(metric).capitalize(), chart, legend=legend)]
    names = [name for name in all_metrics(records) if name != EVAL_LOSS][: len(STYLES)]
    if len(names) > 1:
        lines = [
            _metric_series(records, name, style=style, chosen=None, whiskers=False)
            for name, style in zip(names, STYLES, strict=False)
        ]
        chart = line_chart(lines, label="all metrics over steps", y_range=(0, 1.04), size=size)
        keys = [(line.style, words(line.name)) for line in lines]
        figures.append(figure("All metrics", chart, legend=keys))
    return figures


def _metric_series(
    records: Records, metric: str, *, style: str, chosen: str | None, whiskers: bool = True
) -> Series:
    points = []
    for score in records.scores:
        step = step_of(score["name"])
        if step is None or metric not in score["metrics"]:
            continue
        value, low, high = interval(score, metric)
        mark = " (chosen)" if score["name"] == chosen else ""
        title = (
            f"{label_of(score['name'])}{mark}: {words(metric)} {value:.3f} "
            f"[{low:.3f}, {high:.3f}], n = {score['n']}"
        )
        ends = (low, high) if whiskers else (None, None)
        point = Point(step, value, title, low=ends[0], high=ends[1], chosen=bool(mark))
        points.append(point)
    return Series(metric, points, style, dots=True)
