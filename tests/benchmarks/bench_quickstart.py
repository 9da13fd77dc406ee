"""Wall time of `python -m jobs.quickstart`, from raw rows to a verified GGUF, and of a second call.

    python -m tests.benchmarks.bench_quickstart    # last line: one JSON object

The base model is built from scratch in an empty cache, as on a fresh machine.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def seconds(scratch: str) -> float:
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "jobs.quickstart", f"output_dir={scratch}/runs"],
        cwd=ROOT,
        env=os.environ | {"XDG_CACHE_HOME": f"{scratch}/cache"},
        stdout=sys.stderr,
        check=True,
    )
    return round(time.monotonic() - started, 1)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        first, again = seconds(scratch), seconds(scratch)
        record = json.loads(Path(scratch, "runs/quickstart/run.json").read_text())
    figures = {"first_s": first, "again_s": again, "time_s": record["time_s"]}
    print(json.dumps({"bench": "quickstart", **figures}))


if __name__ == "__main__":
    main()
