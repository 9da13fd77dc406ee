"""Throughput and peak memory of preparing 19,800 description rows on Ray.

    python tests/benchmarks/bench_prepare.py     # last line: one JSON object

End to end once Ray is started: read, map, split, tokenise, write. Peak memory is the largest sum of
proportional set sizes (PSS counts shared pages once) over this process and its descendants.
"""

import json
import logging
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import ray  # noqa: E402

from datasets_src.config import DataConfig  # noqa: E402
from datasets_src.pipeline import prepare  # noqa: E402
from trainers.models.load import load_tokenizer  # noqa: E402
from trainers.models.pocket.tokenizer import train_tokenizer  # noqa: E402

BIOSENDA = ROOT / "../shared/data/biosenda"
NUM_REPEATS = 9
VOCAB_SIZE = 8000
GIB = 2**30


def real_rows() -> list[dict[str, Any]]:
    """The 2,200 inputs, each as 3 wordings of the prompt times 3 adapted texts of the species."""
    species = {
        str(row["idtaxon"]): row
        for row in pq.read_table(BIOSENDA / "db/DescripcionesEspecies.parquet").to_pylist()
    }
    table = pq.read_table(BIOSENDA / "description_train_recipe_inputs.parquet").to_pylist()
    rows = []
    for repeat in range(NUM_REPEATS):
        wording = ("prompt", "alt1", "alt2")[repeat % 3]
        for number, row in enumerate(table):
            texts = species[str(row["idtaxon"])]
            rows.append(
                {
                    "id": f"{number}-{repeat}",
                    "group": row["idtaxon"],
                    "prompt": row[wording],
                    "description": texts["Gemini1"],
                    "science": texts["Descripcion"],
                    "context": row["sql_json"],
                    "target": texts[f"Gemini{1 + repeat // 3}"],
                }
            )
    return rows


def invented_rows() -> list[dict[str, Any]]:
    """As many rows of similar lengths, of invented words."""
    draw = random.Random(0)
    words = ["".join(draw.choices("aeilnorstáé", k=draw.randint(2, 9))) for _ in range(20_000)]

    def text(median: float, spread: float) -> str:
        return " ".join(draw.choices(words, k=max(2, int(draw.lognormvariate(median, spread)))))

    return [
        {
            "id": str(number),
            "group": number % 2200,
            "prompt": text(2.3, 0.3),
            "description": text(4.5, 0.2),
            "science": text(4.6, 0.6),
            "context": text(2.3, 1.6),
            "target": text(4.5, 0.2),
        }
        for number in range(2200 * NUM_REPEATS)
    ]


def total_pss(root: psutil.Process) -> int:
    """PSS in bytes of `root` and its descendants."""
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def cpu_seconds(root: psutil.Process) -> float:
    """CPU seconds used so far by `root` and its running descendants."""
    used = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system
    return used


def measured(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """The result of `work`, with its wall and CPU seconds and peak memory."""
    root, done, peak = psutil.Process(), threading.Event(), [0]

    def watch() -> None:
        while not done.wait(1):
            peak[0] = max(peak[0], total_pss(root))

    watcher = threading.Thread(target=watch)
    before, started = cpu_seconds(root), time.monotonic()
    watcher.start()
    try:
        result = work()
    finally:
        wall = time.monotonic() - started
        done.set()
        watcher.join()
    return result, {"wall_s": wall, "cpu_s": cpu_seconds(root) - before, "peak_bytes": peak[0]}


def build_tokenizer(folder: Path, texts: Iterable[str]) -> None:
    """A sentencepiece tokenizer of 8,000 pieces with a ChatML template."""
    folder.mkdir()
    train_tokenizer(folder, texts, vocab_size=VOCAB_SIZE)


def main() -> None:
    """Measure, and print the figures."""
    source = "biosenda" if BIOSENDA.is_dir() else "invented"
    rows = real_rows() if source == "biosenda" else invented_rows()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        build_tokenizer(folder / "model", (row["science"] for row in rows[:2200]))
        pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
        num_rows = len(rows)
        rows.clear()
        data = DataConfig(
            task="tests.benchmarks.step.description_rows",
            train_file=str(folder / "rows.parquet"),
            max_length=4096,
        )
        load_tokenizer(folder / "model")  # like jobs.prepare, which has imported torch by now
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
        )
        made, cost = measured(lambda: prepare(data, model_dir=folder / "model", output_dir=folder))
        report = json.loads((made.directory / "data.json").read_text(encoding="utf-8"))
        size = sum(path.stat().st_size for path in made.directory.iterdir())
        ray.shutdown()
    result = {
        "benchmark": "prepare",
        "source": source,
        "num_rows": num_rows,
        "rows_per_s": round(num_rows / cost["wall_s"]),
        "wall_s": round(cost["wall_s"], 1),
        "cpu_s": round(cost["cpu_s"], 1),
        "peak_gib": round(cost["peak_bytes"] / GIB, 2),
        "num_tokens": sum(report["num_tokens"].values()),
        "num_dropped": sum(drop["num_rows"] for drop in report["dropped"]),
        "prepared_mib": round(size / 2**20, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
