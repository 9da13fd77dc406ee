"""Ray nodes of a test's own, started by `ray start --block`, and a driver that looks at them.

with RayNodes(tmp_path) as ray:
    head = ray.start(None, num_cpus=1)
    other = ray.start("other", num_cpus=1)       # a second node with a resource `other`
    with ray.busy("other") as look: ids, draining = look()
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.ray_head import BIN, free_port

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 90
# Keeps a node busy, for an idle one ends itself when it drains; one line of JSON per line asked.
DRIVER = """
import json, sys, ray
from ray._private.state import state
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")

@ray.remote(num_cpus=1, resources={sys.argv[2]: 1})
class Busy:
    def node(self):
        return ray.get_runtime_context().get_node_id()

busy = Busy.remote()
busy_id = ray.get(busy.node.remote())
print("ready", flush=True)
for line in sys.stdin:
    nodes = [n["NodeID"] for n in ray.nodes() if n["Alive"]]
    print(json.dumps([busy_id, nodes, state.get_draining_nodes()]), flush=True)
"""


class RayNodes:
    """State: the processes, and the environment in which clients find the token."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        # Socket paths have at most 107 bytes, so not under pytest's long directories.
        self.temp_dir = Path(f"/tmp/g{os.getpid()}-{secrets.token_hex(2)}")
        self.processes: list[subprocess.Popen[bytes]] = []
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            "OMP_WAIT_POLICY": "PASSIVE",
        }

    def start(self, resource: str | None, *, num_cpus: int, wait: bool = True) -> None:
        """The head, or with a `resource` of its own a further node; waits until it is alive."""
        place = (
            ["--head", "--node-ip-address=127.0.0.1", f"--port={self.port}",
             f"--temp-dir={self.temp_dir}", f"--ray-client-server-port={free_port()}",
             "--include-dashboard=false"]
            if resource is None
            else [f"--address={self.address}", "--node-ip-address=127.0.0.1",
                  f"--resources={json.dumps({resource: 1})}"]
        )  # fmt: skip
        command = [
            str(BIN / "ray"), "start", "--block", f"--num-cpus={num_cpus}", *place,
            f"--dashboard-agent-listen-port={free_port()}",
            "--object-store-memory=80000000", "--disable-usage-stats",
        ]  # fmt: skip
        with (self.root / f"ray-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.root, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        self.processes.append(process)
        if not wait:
            return
        done = subprocess.run(
            [sys.executable, "-m", "cluster.nodes", "wait", f"--address={self.address}",
             f"--num-nodes={len(self.processes)}", f"--limit-s={START_LIMIT_S}"],
            cwd=ROOT, env=self.env, capture_output=True, text=True,
        )  # fmt: skip
        output = (self.root / f"ray-{len(self.processes) - 1}.log").read_text(errors="replace")
        assert done.returncode == 0, f"{done.stderr}\n{output}"

    @contextmanager
    def busy(self, resource: str) -> Iterator[Callable[[], Any]]:
        """Hold the node with `resource` busy; the callable gives its id, all ids, the draining."""
        with subprocess.Popen(
            [sys.executable, "-c", DRIVER, self.address, resource],
            cwd=ROOT, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as driver:  # fmt: skip
            assert driver.stdin and driver.stdout
            asked, printed = driver.stdin, driver.stdout
            assert printed.readline() == "ready\n"

            def look() -> Any:
                asked.write("look\n")
                asked.flush()
                return json.loads(printed.readline())

            yield look

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.temp_dir, ignore_errors=True)


def wait_until(true: Callable[[], bool], *, limit_s: float, what: str) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, f"not in {limit_s:g} s: {what}"
        time.sleep(0.1)
