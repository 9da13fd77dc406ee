"""A leaderboard as files: leaderboard.md, leaderboard.json and best.yaml.

write_board(read_board(director, num_threads=1))
"""

from typing import Any

from datasets_src.types import Score
from trainers.config.load import dump_config
from trainers.storage.json_files import write_json, write_text
from tune.leaderboard.board import WATTS_PER_CORE, Board, Entry, best_config


def write_board(board: Board) -> None:
    """Write leaderboard.json, leaderboard.md and, once something is scored, best.yaml."""
    write_json(board.directory / "leaderboard.json", board_json(board))
    write_text(board.directory / "leaderboard.md", board_markdown(board))
    if board.best is not None:
        path = board.directory / "best.yaml"
        head = f"# {board.best.name} of the sweep: python -m jobs.finetune {path}\n"
        write_text(path, head + dump_config(best_config(board)))


def board_json(board: Board) -> dict[str, Any]:
    """The board as JSON values."""
    return {
        "metric": board.sweep.metric,
        "mode": board.sweep.mode,
        "best": None if board.best is None else _row(board.best),
        "trials": [_row(entry) for entry in board.entries],
        "baselines": {s.name: _figures(s) for s in board.baselines},
        "tests": {name: test.told(_best_name(board), name) for name, test in board.tests.items()},
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


def _best_name(board: Board) -> str:
    return "nothing" if board.best is None else board.best.name


def board_markdown(board: Board) -> str:
    """The board as a Markdown table with what the tests say below."""
    names = board.names
    leaves = [name.rsplit(".", 1)[-1] for name in names]
    head = ["", "trial", *leaves, board.sweep.metric, "95 % interval", "checkpoint", "epoch"]
    head += ["state", "CPU-s", "Wh (est.)"]
    rows = [_cells(place, entry, names) for place, entry in enumerate(board.entries, start=1)]
    rows += [
        ["", s.name, *("" for _ in names), *_score_cells(s), "", "", "baseline", "", ""]
        for s in board.baselines
    ]
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    n = next((e.score for e in board.entries if e.score), None)
    said = [test.told(_best_name(board), name) for name, test in board.tests.items()]
    title = f"# {board.sweep.base.run_name}: {board.sweep.metric}"
    on = "" if n is None else f"on {n.n:,} rows in {n.num_groups:,} groups"
    return "\n".join([title, on, "", *lines, "", *(f"- {line}" for line in said), ""])


def _cells(place: int, entry: Entry, names: list[str]) -> list[str]:
    values = [told(entry.trial.values.get(name)) for name in names]
    state = f"{entry.state} {entry.reason}".strip()
    cost = [f"{entry.cpu_s:,.0f}", f"{entry.energy_wh:.2f}"]
    if entry.score is None:
        return ["", str(entry.trial.number), *values, "–", "", "", "", state, *cost]
    checkpoint = [entry.score.name, f"{entry.epoch:g}"]
    head = [str(place), str(entry.trial.number), *values]
    return [*head, *_score_cells(entry.score), *checkpoint, state, *cost]


def _score_cells(score: Score) -> list[str]:
    low, high = score.intervals[score.metric]
    return [f"{score.metrics[score.metric]:.3f}", f"[{low:.3f}, {high:.3f}]"]


def told(value: Any) -> str:
    """0.0003 -> 3e-04 … as a table shows a value."""
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
