"""A real Ray head with token authentication, on its own ports and in its own directory.

with ray_head(tmp_path, num_cpus=2) as head: head.run("job", "submit", ...)
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
START_LIMIT_S = 90
# Each only once: Ray refuses a port that two of its components are given.
PORTS = iter(secrets.SystemRandom().sample(range(20_000, 32_000), 12_000))


@dataclass(frozen=True)
class Head:
    """Its address, and the environment in which clients find its token."""

    address: str
    temp_dir: Path
    env: dict[str, str]

    def run(self, *args: str, cwd: Path, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Run the `ray` command against this head."""
        return subprocess.run(
            [BIN / "ray", *args],
            cwd=cwd,
            env=self.env,
            timeout=timeout_s,
            capture_output=True,
            text=True,
            check=False,
        )


@contextmanager
def ray_head(root: Path, *, num_cpus: int) -> Iterator[Head]:
    """Start a head in the foreground of a process group, and end that group at exit."""
    token = root / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    # Socket paths have at most 107 bytes, so not under pytest's long directories.
    temp_dir = Path(f"/tmp/g{os.getpid()}-{secrets.token_hex(2)}")
    gcs, dashboard, client, agent = (free_port() for _ in range(4))
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        # The job's `python` is the first on the head's path.
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    address = f"http://127.0.0.1:{dashboard}"
    log = (root / "head.log").open("wb")
    process = subprocess.Popen(
        [
            BIN / "ray", "start", "--head", "--block", f"--num-cpus={num_cpus}",
            f"--port={gcs}", f"--dashboard-port={dashboard}", f"--temp-dir={temp_dir}",
            f"--ray-client-server-port={client}",
            # Jobs go to the agent; its usual port may be that of another Ray on this machine.
            f"--dashboard-agent-listen-port={agent}", "--include-dashboard=true",
            "--disable-usage-stats",
        ],
        cwd=root, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until_up(address, process)
        yield Head(address, temp_dir, env)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def wait_until_up(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the job server answers, even if only that a token is missing."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the head ended at once"
        try:
            urllib.request.urlopen(f"{address}/api/version", timeout=2)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"no answer from {address} in {START_LIMIT_S} s")


def free_port() -> int:
    """A free port outside the range of outgoing connections.

    Outgoing ones come from 32768 up, Ray's workers from 10002 to 19999.
    """
    for port in PORTS:
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("every port was given once")
