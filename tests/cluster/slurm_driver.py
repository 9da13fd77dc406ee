"""A driver for Slurm tests: inspects its cluster, works until it is signalled, then resumes.

    python tests/cluster/slurm_driver.py OUTPUT_DIR

Each start appends a line to OUTPUT_DIR/starts.jsonl; the first one ends by USR1 or TERM with 143.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import ray


def main(output_dir: Path) -> int:
    ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)
    asked: list[int] = []
    for signum in (signal.SIGUSR1, signal.SIGTERM):  # after ray.init, which sets its own
        signal.signal(signum, lambda number, _: asked.append(number))
    checkpoint = output_dir / "checkpoint"
    with (output_dir / "starts.jsonl").open("a") as starts:
        row = {
            "resumed": checkpoint.exists(),
            "nodes": sum(node["Alive"] for node in ray.nodes()),
            "cpus": ray.cluster_resources()["CPU"],
            "ran_on": len(set(ray.get([where.remote() for _ in range(2)]))),
            "restarts": int(os.environ.get("SLURM_RESTART_COUNT", "0")),
        }
        starts.write(json.dumps(row) + "\n")
    if row["resumed"]:
        return 0
    while not asked:
        time.sleep(0.1)
    nodes = len(set(ray.get([where.remote() for _ in range(2)])))
    checkpoint.write_text(json.dumps({"signal": signal.Signals(asked[0]).name, "nodes": nodes}))
    return 143


@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
def where() -> str:
    time.sleep(1)
    return ray.get_runtime_context().get_node_id()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
