"""A Slurm of a test's own: munged, slurmctld and two slurmd of this host, in a new directory.

with Slurm() as slurm:
    job = slurm.submit("cluster/slurm.sbatch", "args", "--time=2", env={...})
    slurm.wait_for(job, "COMPLETED", limit_s=60)
"""

import getpass
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cluster.ray_nodes import ROOT, wait_until
from tests.servers.ray_head import free_port

NODES = ("n1", "n2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel")
CONF = """
ClusterName=test
SlurmctldHost=localhost
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge.sock
SlurmctldPort={port}
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmdSpoolDir={root}/spool-%n
StateSaveLocation={root}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
ReturnToService=2
FirstJobId={first}
KillWait=30
{nodes}
PartitionName=all Nodes={names} Default=YES MaxTime=INFINITE State=UP
"""


def missing_programs() -> list[str]:
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Slurm:
    """State: the directory with its configuration, and the daemons."""

    def __init__(self) -> None:
        # Not under pytest's directories: the socket's path has at most 107 bytes.
        self.root = Path(f"/tmp/slurm-{secrets.token_hex(3)}")
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "SLURM_"))}
        self.env["SLURM_CONF"] = str(self.root / "slurm.conf")

    def __enter__(self) -> Self:
        root = self.root
        (root / "state").mkdir(parents=True)
        nodes = [
            f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={free_port()} CPUs=4"
            for name in NODES
        ]
        conf = CONF.format(
            root=root,
            user=getpass.getuser(),
            port=free_port(),
            first=1000 + secrets.randbelow(60000),
            nodes="\n".join(nodes),
            names=",".join(NODES),
        )
        (root / "slurm.conf").write_text(conf)
        (root / "munge.key").touch(mode=0o600)
        (root / "munge.key").write_bytes(secrets.token_bytes(64))
        own = [f"--{name}-file={root}/munge.{name}" for name in ("key", "log", "pid", "seed")]
        try:
            self._start("munged", "--foreground", "--force", f"--socket={root}/munge.sock", *own)
            wait_until((root / "munge.sock").exists, limit_s=20, what="munged")
            self._start("slurmctld", "-D", "-i")
            for name in NODES:
                self._start("slurmd", "-D", "-N", name)
            wait_until(self._all_idle, limit_s=60, what=f"nodes, see {root}")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if kind is None:
            shutil.rmtree(self.root)

    def stop(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def submit(self, script: str, *args: str, options: list[str], env: dict[str, str]) -> str:
        """The job's id; it runs from the project's root."""
        command = ["sbatch", "--parsable", *options, script, *args]
        done = subprocess.run(
            command, cwd=ROOT, env=self.env | env, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=True)
        return done.stdout

    def state(self, job: str) -> str:
        """As Slurm shows it: PENDING, RUNNING, COMPLETED, …"""
        found = re.search(r"JobState=(\w+)", self.run("scontrol", "show", "job", job))
        assert found
        return found[1]

    def wait_for(self, job: str, state: str, *, limit_s: float) -> None:
        wait_until(lambda: self.state(job) == state, limit_s=limit_s, what=f"job {job}: {state}")

    def processes(self, job: str) -> list[str]:
        """Command lines of what still runs of the job, wherever it moved to."""
        mine = {f"SLURM_JOB_ID={job}".encode(), f"SLURM_CONF={self.env['SLURM_CONF']}".encode()}
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mine <= set((process / "environ").read_bytes().split(b"\0")):
                    found.append((process / "cmdline").read_text().replace("\0", " "))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return found

    def _start(self, program: str, *args: str) -> None:
        with (self.root / f"{program}-{len(self.daemons)}.out").open("wb") as out:
            self.daemons.append(
                subprocess.Popen([program, *args], env=self.env, stdout=out, stderr=out)
            )

    def _all_idle(self) -> bool:
        done = subprocess.run(
            ["sinfo", "-h", "-N", "-o", "%t"], env=self.env, capture_output=True, text=True
        )
        time.sleep(0.2)
        return done.stdout.split() == ["idle"] * len(NODES)
