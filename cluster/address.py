"""HOST:PORT of a Ray head: `split_address("10.0.0.4:6379") == ("10.0.0.4", 6379)`."""

import argparse


def split_address(address: str) -> tuple[str, int]:
    """Host and port; brackets around an IPv6 host fall away."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def host_port(text: str) -> str:
    """`text` where it reads HOST:PORT: a type for argparse."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, as in 10.0.0.4:6379")
    return text
