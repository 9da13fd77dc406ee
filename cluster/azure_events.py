"""Drain this node before Azure takes its VM: `python -m cluster.azure_events --address HEAD:PORT`.

One small process per node. It asks the VM's metadata service for Scheduled Events every second

    {"DocumentIncarnation": 2, "Events": [{"EventId": "602d…", "EventType": "Preempt",
     "EventStatus": "Scheduled", "Resources": ["vmss_3"], "DurationInSeconds": -1,
     "NotBefore": "Sat, 19 Sep 2026 18:29:47 GMT"}]}

and, when one of them takes this VM, lets Ray move the work off its node until `NotBefore`: workers
of Ray Train then see it in `get_preemption_info()`. Ray cannot take a drain back: a node whose
event was withdrawn stays out of use until Ray is started on it again.
https://learn.microsoft.com/azure/virtual-machines/linux/scheduled-events
"""

import argparse
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cluster.address import host_port
from cluster.azure_metadata import Event, Metadata, MetadataError, read_events

ROOT = Path(__file__).resolve().parents[1]
ENDPOINT = "http://169.254.169.254"
TAKES_THE_VM = {"Preempt", "Terminate", "Redeploy", "Reboot"}
UNREACHABLE_LIMIT_S = 5  # at the start; later it may stay away for as long as it likes
LONGEST_PAUSE_S = 8
CHILD_LIMIT_S = 15  # a Preempt comes 30 s ahead: two tries
CHECK_EVERY_S = 30


@dataclass
class Watch:
    """What the agent knows of its VM and of the events it has acted on."""

    options: argparse.Namespace
    metadata: Metadata
    vm_name: str
    drained: dict[str, int] = field(default_factory=dict)  # event id: accepted deadline in ms
    acknowledged: set[str] = field(default_factory=set)
    reported: set[str] = field(default_factory=set)
    trouble: str = ""
    checked: bool = False
    check_at: float = 0.0


def main(argv: list[str]) -> int:
    """Watch until SIGTERM: exit code 0; 2 where there is no Azure to watch."""
    options = parse(argv)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: sys.exit(0))
    metadata = Metadata(options.endpoint)
    try:
        vm_name = options.vm_name or ask_vm_name(metadata)
        watch = Watch(options, metadata, vm_name)
        say(f"watching the events of VM {vm_name}")
        run(watch)
    except MetadataError as error:
        print(f"error: {error}: is this a VM on Azure?", file=sys.stderr)
        return 2
    return 0


def ask_vm_name(metadata: Metadata) -> str:
    """Under which name events speak of this VM; waits where the service is busy.

    Raises:
        MetadataError: there is no such service here.
    """
    started, pause, trouble = time.monotonic(), 1.0, ""
    while True:
        try:
            return metadata.vm_name()
        except MetadataError as error:
            waited = time.monotonic() - started
            if not error.passes or (error.unreachable and waited > UNREACHABLE_LIMIT_S):
                raise
            if str(error) != trouble:
                trouble = say(f"{error}; trying again")
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_S)


def run(watch: Watch) -> None:
    """Ask, act, sleep, until a signal ends the process.

    Raises:
        MetadataError: there is no such service here; not once it has answered.
    """
    pause, started = watch.options.poll_s, time.monotonic()
    while True:
        try:
            events, faults = read_events(watch.metadata.scheduled_events())
        except MetadataError as error:
            waited = time.monotonic() - started
            if not watch.metadata.answered and (
                not error.passes or (error.unreachable and waited > UNREACHABLE_LIMIT_S)
            ):
                raise
            pause = min(pause * 2, LONGEST_PAUSE_S)
            complain(watch, f"{error}; trying again")
        else:
            pause = watch.options.poll_s
            complain(watch, "; ".join(faults))
            act(watch, events)
            check_node(watch)
        time.sleep(pause)


def act(watch: Watch, events: list[Event]) -> None:
    """Drain for what is new among `events`; what fails is tried again at the next call."""
    for event_id in watch.drained.keys() - {event.event_id for event in events}:
        del watch.drained[event_id]
        say(
            f"event {event_id} is gone and this VM still runs; Ray cannot undrain its node: "
            "start Ray on it again to use it"
        )
    for event in events:
        if not event.names(watch.vm_name):
            continue
        if not takes_the_vm(event, freeze_limit_s=watch.options.freeze_limit_s):
            print_once(watch, event, "no drain")
            continue
        if event.event_id not in watch.drained:
            drain(watch, event)
        if event.event_id in watch.drained and watch.options.acknowledge:
            acknowledge(watch, event)


def takes_the_vm(event: Event, *, freeze_limit_s: float) -> bool:
    """Whether the node has to be empty for it. A pause of unknown length (-1) is of seconds."""
    if event.kind == "Freeze":
        return event.duration_s > freeze_limit_s
    return event.kind in TAKES_THE_VM


def drain(watch: Watch, event: Event) -> None:
    """Drain until the event, or until an earlier one that this node drains for already."""
    now_ms = int(time.time() * 1000)
    at_ms = now_ms if event.not_before_ms is None else event.not_before_ms
    deadline_ms = min([at_ms, *watch.drained.values()])
    print_once(watch, event, f"draining until {utc(deadline_ms)}")
    answer, done = call_nodes(
        watch,
        "drain",
        f"--deadline-ms={deadline_ms}",
        f"--message=Azure {event.kind} {event.event_id}",
    )
    if done:
        watch.drained[event.event_id] = deadline_ms
        say(f"node {answer} drains until {utc(deadline_ms)}")
    else:
        complain(watch, f"not drained: {answer}; trying again")


def acknowledge(watch: Watch, event: Event) -> None:
    if event.event_id in watch.acknowledged:
        return
    try:
        watch.metadata.approve(event.event_id)
    except MetadataError as error:
        complain(watch, f"not acknowledged: {error}; trying again")
    else:
        watch.acknowledged.add(event.event_id)
        say(f"event {event.event_id} acknowledged: Azure acts now")


def check_node(watch: Watch) -> None:
    """Say early whether a drain would work: a wrong address is no news for the last seconds."""
    if watch.checked or time.monotonic() < watch.check_at:
        return
    answer, watch.checked = call_nodes(watch, "find")
    watch.check_at = time.monotonic() + CHECK_EVERY_S
    if watch.checked:
        say(f"VM {watch.vm_name} is node {answer} of {watch.options.address}")
    else:
        complain(watch, f"no node to drain yet: {answer}; trying again")


def call_nodes(watch: Watch, verb: str, *args: str) -> tuple[str, bool]:
    """Run `cluster.nodes`: its answer or what went wrong, and whether it was done."""
    command = [sys.executable, "-m", "cluster.nodes", verb, f"--address={watch.options.address}"]
    if watch.options.node_id:
        command.append(f"--node-id={watch.options.node_id}")
    try:
        done = subprocess.run(
            [*command, *args], cwd=ROOT, capture_output=True, timeout=CHILD_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return f"{watch.options.address} does not answer in {CHILD_LIMIT_S} s", False
    # Ray's C++ side may log bytes that are no text.
    output = (done.stderr if done.returncode else done.stdout).decode(errors="replace")
    lines = output.strip().splitlines()
    return (lines[-1] if lines else f"exit code {done.returncode}"), done.returncode == 0


def print_once(watch: Watch, event: Event, what: str) -> None:
    if event.event_id not in watch.reported:
        watch.reported.add(event.event_id)
        when = "now" if event.not_before_ms is None else f"not before {utc(event.not_before_ms)}"
        facts = f"{event.kind} of {watch.vm_name}, {event.status}, {when}"
        say(f"event {event.event_id}: {facts}: {what}")


def complain(watch: Watch, trouble: str) -> None:
    """Say it once for as long as it lasts."""
    if trouble and trouble != watch.trouble:
        say(trouble)
    watch.trouble = trouble


def say(line: str) -> str:
    print(f"azure_events {utc(int(time.time() * 1000))} {line}", flush=True)
    return line


def utc(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cluster.azure_events",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--address", type=host_port, required=True, help="HOST:PORT of the Ray head")
    add("--vm-name", help="name in the events' Resources [asked of the metadata service]")
    add("--node-id", help="hex id of the node to drain [the one with this host's address]")
    add("--endpoint", default=ENDPOINT, help=f"metadata service [{ENDPOINT}]")
    add("--poll-s", type=float, default=1.0, help="seconds between two questions [1]")
    add(
        "--freeze-limit-s",
        type=float,
        default=30.0,
        help="drain for a Freeze that lasts longer than this [30]",
    )
    add(
        "--acknowledge",
        action="store_true",
        help="approve the event as soon as the drain is accepted; off, because Azure then acts at "
        "once and the rest of the notice, in which workers save, is lost",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
