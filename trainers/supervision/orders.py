"""What the driver wants of the workers, and how they ask: no torch, for who only passes it on."""

from collections.abc import Callable
from enum import IntEnum
from typing import Any


class Command(IntEnum):
    """What the driver wants of the workers; of two, the greater holds."""

    GO_ON = 0
    LEAVE_AFTER_SAVE = 1
    SAVE_AND_LEAVE = 2


Report = Callable[[dict[str, Any]], Command]


def no_op_report(state: dict[str, Any]) -> Command:
    """The `Report` of a worker that nobody watches."""
    return Command.GO_ON
