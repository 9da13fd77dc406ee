"""The agent as a process, a metadata service that fails, real Ray nodes that it drains."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from cluster.azure_events import takes_the_vm
from cluster.azure_metadata import read_events
from tests.cluster.azure_service import RESET, SLOW, TORN, AzureService, event
from tests.cluster.ray_nodes import ROOT, RayNodes, wait_until
from tests.servers.ray_head import free_port


class Agent:
    """State: the process and where its lines go."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def wait_for(self, text: str, *, limit_s: float = 40) -> None:
        def output() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return text in self.log.read_text()

        wait_until(output, limit_s=limit_s, what=f"{text!r} in {self.log.read_text()}")

    def lines(self, text: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if text in line]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)


@contextmanager
def agent(log: Path, env: dict[str, str], *options: str) -> Iterator[Agent]:
    command = [sys.executable, "-m", "cluster.azure_events", *options]
    # A proxy that would break every question put to it.
    proxy = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9")
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=env | proxy, stdout=out, stderr=out)
    try:
        yield Agent(process, log)
    finally:
        process.kill()
        process.wait()


def refused(ray: RayNodes, *options: str, token: str | None = None) -> str:
    """The one line by which `cluster.nodes drain` says why it drains nothing."""
    command = [sys.executable, "-m", "cluster.nodes", "drain", f"--address={ray.address}"]
    done = subprocess.run(
        [*command, "--deadline-ms=0", *options],
        cwd=ROOT, env=ray.env | ({"RAY_AUTH_TOKEN": token} if token else {}),
        capture_output=True, text=True, errors="replace", timeout=60,
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == "", done
    return done.stderr.splitlines()[-1]


def unix_ms(entry: dict[str, Any]) -> int:
    return int(parsedate_to_datetime(entry["NotBefore"]).timestamp() * 1000)


def test_exactly_the_node_of_the_event_drains_until_its_deadline(tmp_path: Path) -> None:
    with RayNodes(tmp_path) as ray, AzureService("VMSS_3") as azure:
        ray.start(None, num_cpus=1)
        ray.start("other", num_cpus=1)
        azure.faults = [SLOW, 404, 410, SLOW]  # for the name of the VM and the first events
        with ray.busy("other") as look:
            node_id, alive, draining = look()
            assert len(alive) == 2 and draining == {}
            # Ray accepts the drain of a node it never saw; and two nodes have this host's address.
            assert "is none of the 2 alive nodes" in refused(ray, f"--node-id={'0' * 56}")
            assert "choose by --node-id" in refused(ray)
            assert "error: " in refused(ray, f"--node-id={node_id}", token="0" * 64)
            options = (f"--address={ray.address}", f"--node-id={node_id}", "--poll-s=0.2")
            with agent(tmp_path / "log", ray.env, f"--endpoint={azure.endpoint}", *options) as it:
                it.wait_for(f"VM VMSS_3 is node {node_id}")

                azure.faults = [429, 500, TORN, RESET, 503]
                azure.show(
                    {"EventId": "no-type"},
                    event("of-another", "Preempt", not_before_s=60, Resources=["vmss_4", "vmss"]),
                    event("short", "Freeze", not_before_s=60, DurationInSeconds=9),
                )
                it.wait_for("short: Freeze of VMSS_3")
                azure.wait_for_questions(3)
                assert look()[2] == {} and it.lines("cannot be read")
                for fault in ("429", "500", "answers no JSON", "breaks off", "503"):
                    assert it.lines(fault), fault

                later = event("later", "Redeploy", not_before_s=600)
                azure.show({"EventId": "no-type"}, later)
                it.wait_for(f"node {node_id} drains until")
                assert look()[2] == {node_id: unix_ms(later)}

                # The same events in new documents, then one that comes earlier.
                for _ in range(3):
                    azure.show(later | {"EventStatus": "Started"})
                    azure.wait_for_questions(2)
                assert len(it.lines("later: Redeploy")) == len(it.lines("drains until")) == 1
                sooner = event("sooner", "Preempt", not_before_s=300)
                azure.show(later, sooner, event("last", "Reboot", not_before_s=900))
                it.wait_for("last: Reboot")
                wait_until(
                    lambda: len(it.lines("drains until")) == 3, limit_s=20, what=it.log.read_text()
                )
                assert look()[2] == {node_id: unix_ms(sooner)}

                azure.show()
                it.wait_for("event sooner is gone")
                assert azure.approved == [], "approved without --acknowledge"
                assert it.stop() == 0


def test_a_head_that_comes_late_is_found_by_its_address_and_then_acknowledged(
    tmp_path: Path,
) -> None:
    with RayNodes(tmp_path) as ray, AzureService("vmss_3") as azure:
        azure.show(event("e-1", "Terminate", not_before_s=None))
        options = (f"--address={ray.address}", "--vm-name=vmss_3", "--acknowledge")
        with agent(tmp_path / "log", ray.env, f"--endpoint={azure.endpoint}", *options) as it:
            it.wait_for(f"not drained: error: no Ray head listens at {ray.address}")
            azure.wait_for_questions(2)
            assert azure.approved == []
            # The idle node ends as soon as it is drained, maybe before anybody sees it alive.
            ray.start(None, num_cpus=1, wait=False)
            it.wait_for("acknowledged", limit_s=90)
            azure.wait_for_questions(3)
            assert azure.approved == [{"StartRequests": [{"EventId": "e-1"}]}]
            assert all("instance" not in path for path in azure.asked)
            assert it.stop() == 0


@pytest.mark.parametrize("answers", [403, None])
def test_elsewhere_it_says_so_in_one_line(tmp_path: Path, answers: int | None) -> None:
    with AzureService("vmss_3") as azure:
        azure.faults = [answers] if answers else []
        endpoint = azure.endpoint if answers else f"http://127.0.0.1:{free_port()}"
        done = subprocess.run(
            [sys.executable, "-m", "cluster.azure_events", "--address=127.0.0.1:1",
             f"--endpoint={endpoint}"],
            cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "is this a VM on Azure?" in done.stderr


def test_a_wrong_address_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cluster.azure_events", "--address=head"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2 and "'head' is not HOST:PORT" in done.stderr


@pytest.mark.parametrize(
    ("kind", "duration_s", "takes"),
    [
        ("Preempt", -1, True), ("Terminate", -1, True), ("Redeploy", -1, True),
        ("Reboot", -1, True), ("Freeze", -1, False), ("Freeze", 30, False), ("Freeze", 31, True),
        ("SomethingNew", 900, False),
    ],
)  # fmt: skip
def test_which_events_take_the_vm(kind: str, duration_s: float, takes: bool) -> None:
    entry = event("e", kind, not_before_s=60, DurationInSeconds=duration_s)
    (read,), faults = read_events({"Events": [entry]})
    assert takes_the_vm(read, freeze_limit_s=30) is takes
    assert read.not_before_ms == unix_ms(entry) and faults == []


def test_one_unreadable_event_does_not_hide_another() -> None:
    bad = [None, {"EventId": "a"}, event("b", "Preempt", not_before_s=1, Resources=None)]
    bad.append(event("c", "Preempt", not_before_s=1, DurationInSeconds="soon"))
    good = event("d", "Preempt", not_before_s=None) | {"NotBefore": "soon"}
    events, faults = read_events({"Events": [*bad, good]})
    assert [e.event_id for e in events] == ["d"] and len(faults) == len(bad)
    assert events[0].not_before_ms is None
    assert read_events({}) == ([], ["the document of events has no list `Events`"])
