"""report.html of a sweep: one self-contained file, in the style of a run's report.

write_page(read_leaderboard(controller, num_threads=1))     -> runs/my_sweep/report.html
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from trainers.config.load import dump_config
from trainers.report import page as run_page
from trainers.report.records import label_of
from trainers.storage.json_files import write_text
from tune.config import LEARNING_RATE
from tune.leaderboard.board import WATTS_PER_CORE, Leaderboard, best_config
from tune.leaderboard.charts import curves, metric_against, parallel_coordinates
from tune.leaderboard.files import format_value

HERE = Path(__file__).parent


def write_page(board: Leaderboard) -> Path:
    """Write `<sweep>/report.html` atomically; its path."""
    path = board.directory / "report.html"
    write_text(path, render(board))
    return path


def render(board: Leaderboard) -> str:
    """The page as HTML."""
    template = run_page.environment(HERE).get_template("sweep.html.j2")
    style = (run_page.HERE / "report.css").read_text(encoding="utf-8")
    names = board.names
    html = template.render(
        style=Markup(style),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        board=board,
        settings=board.sweep.settings,
        verdict=verdict(board),
        tone=tone(board),
        tests=[test.summary_line(_winner(board), label_of(n)) for n, test in board.tests.items()],
        fields=[name.rsplit(".", 1)[-1] for name in names],
        rows=[row(board, entry, names) for entry in board.entries],
        parallel=parallel_coordinates(board),
        charts=[c for c in (metric_against(board, LEARNING_RATE), curves(board)) if c is not None],
        num_stopped=sum(entry.state == "stopped" for entry in board.entries),
        watts=WATTS_PER_CORE,
        best_yaml="" if board.best is None else dump_config(best_config(board)),
        label_of=label_of,
    )
    return run_page.SURROGATE.sub("\ufffd", html)


def verdict(board: Leaderboard) -> str:
    """The winner with its interval, and whether it beats the next checkpoint and the baselines."""
    best = board.best
    if best is None or best.score is None:
        return "No checkpoint has been scored yet."
    low, high = best.score.intervals[best.score.metric]
    values = ", ".join(
        f"{name.rsplit('.', 1)[-1]} {format_value(value)}"
        for name, value in best.trial.values.items()
    )
    second = next((name for name in board.tests if name.startswith("trial ")), None)
    comparison = ""
    if second is not None:
        test = board.tests[second]
        size = f"on {test.n:,} rows in {test.num_groups:,} groups"
        verb = "beats" if test.winner > 0 else "is not distinguishable from"
        trial, _, checkpoint = second.rpartition(" ")
        comparison = f" It {verb} {trial} {label_of(checkpoint)}, the next one, {size}."
    baselines = [name for name in board.tests if not name.startswith("trial ")]
    lost = " and ".join(label_of(name) for name in baselines if not beats(board, name))
    if baselines:
        comparison += f" It does not beat the {lost}." if lost else " It beats all baselines."
    return (
        f"{_winner(board).capitalize()} ({values}) is the best of {len(board.entries)} trials: "
        f"{best.score.metrics[best.score.metric]:.3f} [{low:.3f}, {high:.3f}] "
        f"{board.sweep.metric.replace('_', ' ')}.{comparison}"
    )


def beats(board: Leaderboard, name: str) -> bool:
    """Whether the winner beats the named checkpoint or baseline on the same rows."""
    return board.tests[name].winner > 0


def tone(board: Leaderboard) -> str:
    """CSS class of the verdict: "good" if the winner beats all it is compared with, else "open"."""
    if board.best is None:
        return "none"
    return "good" if all(beats(board, name) for name in board.tests) else "open"


def row(board: Leaderboard, entry: Any, names: list[str]) -> dict[str, Any]:
    """One row of the table."""
    most = max((e.cpu_s for e in board.entries), default=0.0) or 1.0
    score = entry.score
    return {
        "number": entry.trial.number,
        "chosen": entry is board.best,
        "values": [format_value(entry.trial.values.get(name)) for name in names],
        "score": None
        if score is None
        else (score.metrics[score.metric], *score.intervals[score.metric]),
        "checkpoint": "–" if score is None else label_of(score.name),
        "epoch": entry.epoch if score is not None else None,
        "state": f"{entry.state} {entry.reason}".strip(),
        "cpu_s": entry.cpu_s,
        "energy": entry.energy_wh,
        "share": 100 * entry.cpu_s / most,
        "run": f"trials/{entry.run.key}",
    }


def _winner(board: Leaderboard) -> str:
    best = board.best
    if best is None or best.score is None:
        return "nothing"
    return f"trial {best.trial.number} {label_of(best.score.name)}"
