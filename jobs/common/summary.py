"""The table a run ends with: the baselines and every checkpoint, and which beats which."""

from pathlib import Path

from datasets_src.types import Score
from trainers.run.scores import best_of, compare_with_baselines, read_scores
from trainers.storage.json_files import read_json

EQUAL = " equal to the merged model's"


def summary_table(run_dir: Path) -> str:
    """One line per score: the metric that chooses with its 95 % interval, then the others.

    Below, whether the best checkpoint beats the baselines and the second best.
    """
    scores = read_scores(run_dir)
    best = best_of(scores)
    if not scores:
        return "no scores yet"
    metric = scores[0].metric
    names = dict.fromkeys(name for score in scores for name in score.metrics if name != metric)
    widths = {name: max(len(name), 6) for name in names}
    head = f"{'':14} {metric:>18} {'95 % interval':>16} {'n':>5} {'groups':>6}  "
    lines = [head + "  ".join(f"{name:>{width}}" for name, width in widths.items())]
    lines += [_line(score, widths, is_best=score is best) for score in scores]
    if best is not None:
        rivals = compare_with_baselines(run_dir).items()
        lines += (
            ["", *(rival.summary_line(best.name, name) for name, rival in rivals)] if rivals else []
        )
    return "\n".join(lines)


def _line(score: Score, widths: dict[str, int], *, is_best: bool) -> str:
    low, high = score.intervals[score.metric]
    rest = "  ".join(
        f"{score.metrics[name]:>{width}.3f}" if name in score.metrics else f"{'–':>{width}}"
        for name, width in widths.items()
    )
    note = "  <- best" if is_best else ""
    if score.constant_reply is not None:
        note = f"  always {score.constant_reply!r}"
    if score.num_thinking:
        note += f"  {thinking_text(score)}"
    return (
        f"{score.name:14} {score.metrics[score.metric]:>18.3f} {f'[{low:.3f}, {high:.3f}]':>16} "
        f"{score.n:>5} {score.num_groups:>6}  {rest}{note}"
    )


def thinking_text(score: Score) -> str:
    """How many replies started with a thinking block."""
    text = f"{score.num_thinking} of {score.n} replies start with a thinking block"
    return f"{text}, {score.num_unclosed} of which do not end" if score.num_unclosed else text


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
