"""A leaderboard as files: leaderboard.md, leaderboard.json and best.yaml.

write_leaderboard(read_leaderboard(controller, num_threads=1))
"""

from typing import Any

from datasets_src.types import Score
from trainers.config.load import dump_config
from trainers.storage.json_files import write_json, write_text
from tune.leaderboard.board import WATTS_PER_CORE, Entry, Leaderboard, best_config


def write_leaderboard(board: Leaderboard) -> None:
    """Write leaderboard.json, leaderboard.md and, once a checkpoint is scored, best.yaml."""
    write_json(board.directory / "leaderboard.json", leaderboard_json(board))
    write_text(board.directory / "leaderboard.md", leaderboard_markdown(board))
    if board.best is not None:
        path = board.directory / "best.yaml"
        head = f"# {board.best.name} of the sweep; train it: python -m jobs.finetune {path}\n"
        write_text(path, head + dump_config(best_config(board)))


def leaderboard_json(board: Leaderboard) -> dict[str, Any]:
    """The leaderboard as JSON values."""
    return {
        "metric": board.sweep.metric,
        "mode": board.sweep.mode,
        "best": None if board.best is None else _row(board.best),
        "trials": [_row(entry) for entry in board.entries],
        "baselines": {s.name: _figures(s) for s in board.baselines},
        "tests": {
            name: test.summary_line(_best_name(board), name) for name, test in board.tests.items()
        },
        "cpu_s": round(board.cpu_s, 1),
        "wall_s": round(board.wall_s, 1),
        "energy_wh_estimated": round(board.cpu_s * WATTS_PER_CORE / 3600, 3),
    }


def _row(entry: Entry) -> dict[str, Any]:
    figures = {} if entry.score is None else _figures(entry.score)
    return {
        "trial": entry.trial.number,
        "key": entry.trial.key,
        "run": f"trials/{entry.run.key}",
        "values": entry.trial.values,
        "state": entry.state,
        "reason": entry.reason,
        "checkpoint": entry.score.name if entry.score else None,
        "epoch": entry.epoch if entry.score else None,
        **figures,
        "cpu_s": entry.cpu_s,
        "energy_wh_estimated": round(entry.energy_wh, 3),
    }


def _figures(score: Score) -> dict[str, Any]:
    return {
        "value": score.metrics[score.metric],
        "interval": list(score.intervals[score.metric]),
        "n": score.n,
        "num_groups": score.num_groups,
    }


def _best_name(board: Leaderboard) -> str:
    return "nothing" if board.best is None else board.best.name


def leaderboard_markdown(board: Leaderboard) -> str:
    """The leaderboard as a Markdown table, followed by the paired tests."""
    names = board.names
    leaves = [name.rsplit(".", 1)[-1] for name in names]
    head = ["", "trial", *leaves, board.sweep.metric, "95 % interval", "checkpoint", "epoch"]
    head += ["state", "CPU-s", "Wh (est.)"]
    rows = [_cells(rank, entry, names) for rank, entry in enumerate(board.entries, start=1)]
    rows += [
        ["", s.name, *("" for _ in names), *_score_cells(s), "", "", "baseline", "", ""]
        for s in board.baselines
    ]
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    tests = [
        f"- {test.summary_line(_best_name(board), name)}" for name, test in board.tests.items()
    ]
    title = f"# {board.sweep.base.run_name}: {board.sweep.metric}"
    score = next((e.score for e in board.entries if e.score), None)
    size = "" if score is None else f"on {score.n:,} rows in {score.num_groups:,} groups"
    return "\n".join([title, size, "", *lines, "", *tests, ""])


def _cells(rank: int, entry: Entry, names: list[str]) -> list[str]:
    values = [format_value(entry.trial.values.get(name)) for name in names]
    state = f"{entry.state} {entry.reason}".strip()
    cost = [f"{entry.cpu_s:,.0f}", f"{entry.energy_wh:.2f}"]
    if entry.score is None:
        return ["", str(entry.trial.number), *values, "–", "", "", "", state, *cost]
    checkpoint = [entry.score.name, f"{entry.epoch:g}"]
    head = [str(rank), str(entry.trial.number), *values]
    return [*head, *_score_cells(entry.score), *checkpoint, state, *cost]


def _score_cells(score: Score) -> list[str]:
    low, high = score.intervals[score.metric]
    return [f"{score.metrics[score.metric]:.3f}", f"[{low:.3f}, {high:.3f}]"]


def format_value(value: Any) -> str:
    """A value as tables show it: 0.00031234 -> "0.0003123", [1, 2] -> "1 2", None -> "–"."""
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
