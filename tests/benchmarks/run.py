"""`make bench`: every benchmark in turn, then all their figures as one JSON object.

python -m tests.benchmarks.run
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    figures = {}
    for path in sorted(Path(__file__).parent.glob("bench_*.py")):
        print(f"== {path.stem}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", f"tests.benchmarks.{path.stem}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        print(done.stdout, end="", flush=True)
        figures[path.stem] = json.loads(done.stdout.strip().splitlines()[-1])
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
