"""What the driver wants of the workers, and how they ask: no torch, for who only passes it on."""

from collections.abc import Callable
from enum import IntEnum
from typing import Any


class Order(IntEnum):
    """What the driver wants of the workers; of two, the greater holds."""

    GO_ON = 0
    LEAVE_AFTER_SAVE = 1
    SAVE_AND_LEAVE = 2


Tell = Callable[[dict[str, Any]], Order]


def hear_nothing(state: dict[str, Any]) -> Order:
    """The `Tell` of a worker that nobody watches."""
    return Order.GO_ON
