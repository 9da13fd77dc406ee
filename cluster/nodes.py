"""The nodes of a Ray cluster, seen from outside it: find this host's, drain it, wait for all.

    python -m cluster.nodes find  --address 10.0.0.4:6379
    python -m cluster.nodes drain --address 10.0.0.4:6379 --deadline-ms 1767225600000
    python -m cluster.nodes wait  --address 10.0.0.4:6379 --num-nodes 4

A command of its own, and a short one, because a client of Ray ends its whole process when the head
stays away for a minute: who watches for longer calls it and tries again.
"""

import argparse
import socket
import sys
import time

from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.core.generated.autoscaler_pb2 import DrainNodeReason  # type: ignore[attr-defined]
from ray.core.generated.gcs_pb2 import GcsNodeInfo  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError, RpcError
from ray.util import get_node_ip_address

from cluster.address import host_port, split_address

CONNECT_LIMIT_S = 3
CALL_LIMIT_S = 10


class NodeError(Exception):
    """What cannot be done, in one line."""


def connect(address: str) -> GcsClient:
    """A client of the head at `address`.

    Raises:
        NodeError: nobody listens there. Ray's own client would need 40 s to say so.
    """
    try:
        socket.create_connection(split_address(address), timeout=CONNECT_LIMIT_S).close()
    except OSError as error:
        raise NodeError(f"no Ray head listens at {address}: {error}") from error
    return GcsClient(address=address)


def alive_nodes(client: GcsClient) -> dict[str, str]:
    """Node id in hex: address, of every node that is alive."""
    found = client.get_all_node_info(timeout=CALL_LIMIT_S)
    return {
        node_id.hex(): info.node_manager_address
        for node_id, info in found.items()
        if info.state == GcsNodeInfo.ALIVE
    }


def find_node(client: GcsClient, *, address: str, node_id: str | None) -> str:
    """The id of the one node of this host, or `node_id` where it is alive.

    Raises:
        NodeError: no such node, or several. Ray itself *accepts* the drain of a node it never saw.
    """
    nodes = alive_nodes(client)
    if node_id:
        if node_id in nodes:
            return node_id
        raise NodeError(f"--node-id {node_id} is none of the {len(nodes)} alive nodes of {address}")
    mine = local_addresses(address)
    found = [hex_id for hex_id, host in nodes.items() if host in mine]
    if len(found) == 1:
        return found[0]
    if found:
        raise NodeError(
            f"{len(found)} nodes at {min(mine)}: choose by --node-id {' or '.join(found)}"
        )
    raise NodeError(f"no alive node of {address} is at {' or '.join(sorted(mine))}")


def local_addresses(address: str) -> set[str]:
    """Addresses by which Ray may know this host: on the way to the head, and Ray's own guess."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # sends nothing
        try:
            probe.connect(split_address(address))
            on_the_way = {probe.getsockname()[0]}
        except OSError:  # an IPv6 head, or a name that is not known now
            on_the_way = set()
    return on_the_way | {get_node_ip_address()}


def drain_node(client: GcsClient, *, node_id: str, deadline_ms: int, message: str) -> None:
    """Let Ray move all work off the node until `deadline_ms` (Unix time).

    Raises:
        NodeError: the node refuses.
    """
    accepted, reason = client.drain_node(
        node_id,
        DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION,
        message,
        deadline_ms,
        timeout=CALL_LIMIT_S,
    )
    if not accepted:
        raise NodeError(f"node {node_id} refuses to drain: {reason}")


def wait_for_nodes(address: str, *, num_nodes: int, limit_s: float) -> None:
    """Until `num_nodes` are alive.

    Raises:
        NodeError: they are not within `limit_s`.
    """
    deadline = time.monotonic() + limit_s
    seen = "no answer"
    while time.monotonic() < deadline:
        try:
            alive = len(alive_nodes(connect(address)))
        except (NodeError, RpcError) as error:  # the head is still starting
            seen = first_line(error)
        else:
            if alive >= num_nodes:
                return
            seen = f"{alive} alive"
        time.sleep(1)
    raise NodeError(f"{num_nodes} nodes were not alive at {address} in {limit_s:g} s: {seen}")


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m cluster.nodes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", choices=("find", "drain", "wait"))
    parser.add_argument("--address", type=host_port, required=True, help="HOST:PORT of the head")
    parser.add_argument("--node-id", help="hex id of the node, where a host has several")
    parser.add_argument(
        "--deadline-ms", type=int, help="drain: Unix time in ms at which it is gone"
    )
    parser.add_argument(
        "--message", default="cluster.nodes", help="drain: what Ray logs as the reason"
    )
    parser.add_argument("--num-nodes", type=int, default=1, help="wait: how many must be alive")
    parser.add_argument("--limit-s", type=float, default=180, help="wait: for how long [180]")
    args = parser.parse_args(argv)
    if args.verb == "drain" and args.deadline_ms is None:
        parser.error("drain needs --deadline-ms")
    return args


def main(argv: list[str]) -> int:
    """Exit code 0, or 1 with one line that says why."""
    args = parse(argv)
    try:
        if args.verb == "wait":
            wait_for_nodes(args.address, num_nodes=args.num_nodes, limit_s=args.limit_s)
            return 0
        client = connect(args.address)
        node_id = find_node(client, address=args.address, node_id=args.node_id)
        if args.verb == "drain":
            drain_node(client, node_id=node_id, deadline_ms=args.deadline_ms, message=args.message)
        print(node_id)
    except (NodeError, RpcError, AuthenticationError) as error:
        print(f"error: {first_line(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
