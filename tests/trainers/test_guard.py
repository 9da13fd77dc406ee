"""How long the workers may be silent: `Quiet`, by a clock that the test turns."""

import time
from itertools import accumulate
from statistics import median

from hypothesis import given
from hypothesis import strategies as st

from trainers.guard import Quiet
from trainers.orders import Order
from trainers.progress import TELL_EVERY_S, Progress


def heard_at(quiet: Quiet, *times: float) -> None:
    """A first word at 0, so that the gaps are those between the times given."""
    quiet.heard(0)
    for num, now in enumerate(times):
        quiet.too_long(num, now=now)


def test_no_less_than_the_minimum() -> None:
    quiet = Quiet(factor=3, at_least_s=20)
    heard_at(quiet, 1, 2, 3)
    assert quiet.limit_s() == 20
    assert not quiet.too_long(2, now=23)
    assert quiet.too_long(2, now=23.01)


def test_so_many_times_the_usual() -> None:
    quiet = Quiet(factor=3, at_least_s=20)
    heard_at(quiet, 10, 20, 30, 130)  # one long evaluation is not the usual
    assert quiet.limit_s() == 30
    assert not quiet.too_long(3, now=160)
    assert quiet.too_long(3, now=160.5)


def test_looking_often_is_not_hearing() -> None:
    quiet = Quiet(factor=3, at_least_s=5)
    heard_at(quiet, 10, 20)
    assert not any(quiet.too_long(1, now=20 + tenth / 10) for tenth in range(301))
    assert quiet.limit_s() == 30
    assert quiet.too_long(1, now=50.1)


def test_workers_that_were_ended_are_given_time_again() -> None:
    quiet = Quiet(factor=3, at_least_s=8)
    heard_at(quiet, 1)
    assert quiet.too_long(0, now=10)
    quiet.heard(10)
    assert not quiet.too_long(0, now=18)
    assert quiet.too_long(0, now=18.5)


def test_the_usual_is_that_of_the_last_thousand() -> None:
    quiet = Quiet(factor=2, at_least_s=1)
    heard_at(quiet, *accumulate([1] * 1500 + [10] * 499))
    assert quiet.limit_s() == 2
    heard_at(quiet, *accumulate([10] * 10))
    assert quiet.limit_s() == 20


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=30), st.integers(2, 50))
def test_a_run_as_slow_as_ever_is_never_ended(gaps: list[int], factor: int) -> None:
    quiet = Quiet(factor=factor, at_least_s=max(gaps))
    quiet.heard(0)
    for num, now in enumerate(accumulate(gaps)):
        # Silent until now, then a word.
        assert num == 0 or not quiet.too_long(num - 1, now=now)
        assert not quiet.too_long(num, now=now)
    assert quiet.limit_s() == max(max(gaps), factor * median(gaps))


def test_a_worker_tells_of_each_micro_batch() -> None:
    """A step of many micro-batches may take longer than any limit; one of them does not."""
    told: list[float] = []

    def tell(state: dict[str, object]) -> Order:
        told.append(time.monotonic())
        return Order.GO_ON

    progress = Progress(tell, rank=1, world=1)
    for _ in progress.while_taking(range(4)):
        time.sleep(1.1 * TELL_EVERY_S)
    assert len(told) == 1 + 3, (
        "one at the start, and one for each but the first, which came at once"
    )
