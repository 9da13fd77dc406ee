"""`make bench`: the benchmark of the step (ten minutes), others by name, or all (an hour).

    python -m tests.benchmarks.run                      step
    python -m tests.benchmarks.run generate resume      make bench BENCH="generate resume"
    python -m tests.benchmarks.run all                  make bench BENCH=all

The last line is one JSON object with the figures of each.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = [p.stem.removeprefix("bench_") for p in sorted(Path(__file__).parent.glob("bench_*.py"))]
ALL = "all"


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Run benchmarks one after the other; the last line is one JSON object"
    )
    names = ", ".join([*NAMES, ALL])
    parser.add_argument("names", nargs="*", metavar="NAME", default=["step"], help=names)
    chosen = parser.parse_args().names
    for name in chosen:
        if name not in (*NAMES, ALL):
            parser.error(f"NAME: unknown benchmark {name!r}; choose from {names}")
    figures = {}
    for name in NAMES if ALL in chosen else chosen:
        print(f"== {name}", flush=True)
        figures[name] = run(name)
    print(json.dumps(figures))


def run(name: str) -> dict[str, object]:
    """Run one benchmark, pass its output through, and return the JSON object of its last line."""
    command = [sys.executable, "-u", "-m", f"tests.benchmarks.bench_{name}"]
    last = ""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line if line.strip() else last
    if process.returncode:
        sys.exit(f"error: bench_{name} exited with {process.returncode}")
    figures: dict[str, object] = json.loads(last)
    return figures


if __name__ == "__main__":
    main()
