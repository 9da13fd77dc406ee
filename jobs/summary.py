"""The table a run ends with: the untuned base, the best constant answer, every checkpoint."""

from pathlib import Path

from trainers.run_dir import read_json
from trainers.scores import best_score, read_scores

EQUAL = " equal to the merged model's"


def summary_table(run_dir: Path) -> str:
    """One line per score: the metric that chooses with its 95 % interval, then the others."""
    scores, best = read_scores(run_dir), best_score(run_dir)
    if not scores:
        return "no scores yet"
    others = [name for name in scores[0].metrics if name != scores[0].metric]
    widths = [max(len(name), 6) for name in others]
    head = f"{'':14} {scores[0].metric:>18} {'95 % interval':>16} {'n':>5}  "
    lines = [head + "  ".join(f"{n:>{w}}" for n, w in zip(others, widths, strict=True))]
    for score in scores:
        low, high = score.intervals[score.metric]
        rest = "  ".join(f"{score.metrics[n]:>{w}.3f}" for n, w in zip(others, widths, strict=True))
        note = "  <- best" if best is not None and score.name == best.name else ""
        if score.constant_reply is not None:
            note = f"  always {score.constant_reply!r}"
        lines.append(
            f"{score.name:14} {score.metrics[score.metric]:>18.3f} "
            f"{f'[{low:.3f}, {high:.3f}]':>16} {score.n:>5}  {rest}{note}"
        )
    return "\n".join(lines)


def gate_lines(run_dir: Path) -> list[str]:
    """One line per export gate, then what the GGUF files answer: "GGUF equals merged: n/n"."""
    gates = read_json(run_dir / "artifact.json").get("gates", [])
    lines = [
        f"{'ok    ' if gate['passed'] else 'FAILED'}    {gate['name']}: {gate['detail']}"
        for gate in gates
    ]
    equal = [
        f"{gate['name'].removesuffix(' replies')} {gate['detail'].removesuffix(EQUAL)}"
        for gate in gates
        if gate["name"].endswith(" replies")
    ]
    return [*lines, f"GGUF equals merged: {', '.join(equal)}"] if equal else lines
