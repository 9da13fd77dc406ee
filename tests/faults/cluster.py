"""A real Ray cluster of several raylets on this machine, whose nodes a test can remove.

with ray_cluster(num_nodes=2) as cluster:
    runs = Runs.create(folder, RAY_ADDRESS=cluster.address)
    cluster.remove(1)
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.faults.harness import ROOT, is_worker, marked
from tests.servers.ray_head import free_port


@dataclass
class RayCluster:
    """A head without CPUs for the drivers, and nodes with CPUs."""

    handle: Any
    cpus_per_node: int
    nodes: list[Any] = field(default_factory=list)

    @property
    def address(self) -> str:
        """RAY_ADDRESS of the drivers."""
        return str(self.handle.address)

    def add(self) -> None:
        """Add a node."""
        self.nodes.append(self.handle.add_node(num_cpus=self.cpus_per_node))
        self.handle.wait_for_nodes()

    def remove(self, index: int) -> None:
        """Remove a node as a power cut does."""
        self.handle.remove_node(self.nodes.pop(index), allow_graceful=False)

    def drain(self, index: int, *, deadline_s: float) -> None:
        """Announce the preemption of a node, as a cloud does."""
        from ray import _raylet
        from ray.core.generated import autoscaler_pb2

        client: Any = vars(_raylet)["GcsClient"](address=self.address)
        reasons: Any = vars(autoscaler_pb2)["DrainNodeReason"]
        reason = reasons.Value("DRAIN_NODE_REASON_PREEMPTION")
        deadline_ms = int((time.time() + deadline_s) * 1000)
        node_id = self.nodes[index].node_id
        accepted, why = client.drain_node(node_id, reason, "test", deadline_ms)
        assert accepted, why

    def busy(self) -> list[int]:
        """Indices of the nodes on which workers train."""
        workers = [p for p in psutil.process_iter(["cmdline"]) if is_worker(p)]
        raylets = [node.all_processes["raylet"][0].process.pid for node in self.nodes]
        return sorted({raylets.index(p.ppid()) for p in workers if p.ppid() in raylets})

    def kill_head_service(self) -> None:
        """kill -9 of the cluster's control service."""
        [server] = self.handle.head_node.all_processes["gcs_server"]
        os.kill(server.process.pid, signal.SIGKILL)


@contextmanager
def ray_cluster(*, num_nodes: int, cpus_per_node: int = 1) -> Iterator[RayCluster]:
    """Start the cluster; at the end remove all of it."""
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    temp_dir = f"/tmp/g{os.getpid()}-{secrets.token_hex(2)}"
    os.environ |= {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "temp_dir": temp_dir},
    )
    try:
        started = RayCluster(cluster, cpus_per_node)
        for _ in range(num_nodes):
            started.add()
        yield started
    finally:
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(temp_dir, ignore_errors=True)


# Keys of Ray's cluster configs, which its validation fills in, but not that of `ray start`.
NOTHING_TO_RUN = (
    *("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands"),
    *("setup_commands", "head_setup_commands", "worker_setup_commands"),
    *("head_start_ray_commands", "worker_start_ray_commands"),
)


@contextmanager
def autoscaled_cluster(folder: Path, *, cpus_per_node: int, max_nodes: int) -> Iterator[str]:
    """A head without CPUs, whose autoscaler starts nodes of this machine; its address."""
    from ray._private.services import get_node_ip_address

    address, mark = f"{get_node_ip_address()}:{free_port()}", folder / "autoscaled"
    head_id = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"  # Ray's fake provider's
    config = {
        "cluster_name": "autoscaled",
        "max_workers": max_nodes,
        "idle_timeout_minutes": 10,
        "provider": {
            "type": "fake_multinode",  # its nodes are real ones of this machine
            "gcs_address": address,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {
            "ray.head.default": {"resources": {}, "node_config": {}, "max_workers": 0},
            "spot": {
                "resources": {"CPU": cpus_per_node},
                "node_config": {},
                "min_workers": 0,
                "max_workers": max_nodes,
            },
        },
        "head_node_type": "ray.head.default",
        "upscaling_speed": 1.0,
        "file_mounts_sync_continuously": False,
        **{key: {} for key in ("auth", "docker", "file_mounts")},
        **{key: [] for key in NOTHING_TO_RUN},
    }
    mark.mkdir()
    path = mark / "cluster.yaml"
    path.write_text(yaml.safe_dump(config))
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_worker_niceness": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": head_id,
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "GALLIPATO_FAILPOINTS_DIR": str(mark),
        "PYTHONPATH": str(ROOT),
    }
    temp_dir = f"/tmp/g{os.getpid()}-{secrets.token_hex(2)}"
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"]
    command += ["--num-cpus=0", "--include-dashboard=false"]
    command += [f"--port={address.rsplit(':')[-1]}", f"--temp-dir={temp_dir}"]
    command += [f"--autoscaling-config={path}"]
    with (mark / "head.log").open("w") as log:
        head = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        yield address
    finally:
        head.terminate()
        for process in marked(mark):
            process.kill()
        head.wait()
        shutil.rmtree(temp_dir, ignore_errors=True)
