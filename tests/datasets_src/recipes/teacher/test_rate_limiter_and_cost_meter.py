"""The rate limiter spaces requests over all threads, and the cost meter never exceeds its cap."""

import threading
from collections.abc import Callable

import pytest

from datasets_src.errors import UserError
from datasets_src.recipes.teacher.cost_meter import CostMeter, Prices, Usage
from datasets_src.recipes.teacher.rate_limiter import BuildStopped, RateLimiter


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Sleeps(threading.Event):
    """A stop event that records each wait; waiting moves the clock, if there is one to move."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self.waits: list[float] = []
        self.clock = clock
        self.while_asleep: list[Callable[[], None]] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        if self.while_asleep:
            self.while_asleep.pop()()
        if self.clock is not None:
            self.clock.now += max(0.0, timeout)
        return self.is_set()


def run_all(num: int, target: Callable[[], None]) -> None:
    threads = [threading.Thread(target=target) for _ in range(num)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_requests_are_spaced_over_all_threads() -> None:
    limiter, sleeps = RateLimiter(requests_per_minute=1200, clock=Clock()), Sleeps()
    run_all(10, lambda: limiter.wait(0, sleeps))
    assert sorted(sleeps.waits) == pytest.approx([0.05 * number for number in range(10)])


def test_tokens_are_spaced_and_settled() -> None:
    limiter, sleeps = RateLimiter(tokens_per_minute=60_000, clock=Clock()), Sleeps()
    run_all(5, lambda: limiter.wait(100, sleeps))  # a thousand a second
    assert sorted(sleeps.waits) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    limiter, sleeps = RateLimiter(tokens_per_minute=60_000, clock=Clock()), Sleeps()
    limiter.wait(10_000, sleeps)
    limiter.settle(10_000, 100)
    limiter.wait(0, sleeps)
    assert sleeps.waits == pytest.approx([0.0, 0.1])  # not the ten seconds that were reserved


def test_time_that_has_passed_is_not_waited_for() -> None:
    clock = Clock()
    limiter, sleeps = RateLimiter(requests_per_minute=60, clock=clock), Sleeps()
    limiter.wait(0, sleeps)
    clock.now = 0.75
    limiter.wait(0, sleeps)
    assert sleeps.waits == pytest.approx([0.0, 0.25])


def test_a_pause_also_holds_requests_that_already_wait() -> None:
    clock = Clock()
    limiter, sleeps = RateLimiter(requests_per_minute=1200, clock=clock), Sleeps(clock)
    limiter.wait(0, sleeps)
    sleeps.while_asleep.append(lambda: limiter.pause(0.3))
    limiter.wait(0, sleeps)
    assert clock.now == pytest.approx(0.3)
    assert sleeps.waits == pytest.approx([0.0, 0.05, 0.25])


def test_a_waiting_request_is_stopped() -> None:
    limiter, stop = RateLimiter(requests_per_minute=1, clock=Clock()), Sleeps()
    limiter.wait(0, stop)
    stop.while_asleep.append(stop.set)
    with pytest.raises(BuildStopped):
        limiter.wait(0, stop)
    assert stop.waits == [0.0, 60.0]


def test_concurrent_calls_never_exceed_the_cap() -> None:
    meter = CostMeter(Prices(input_price=1.0, output_price=2.0, max_price=0.001))
    refused: list[str] = []
    others_started = threading.Event()

    def call() -> None:
        try:
            with meter.reserve(Usage(100, 100)) as record_usage:  # up to 0.0003
                others_started.wait()
                record_usage(Usage(100, 50))  # 0.0002
        except UserError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=call) for _ in range(12)]
    for thread in threads:
        thread.start()
    others_started.set()
    for thread in threads:
        thread.join()
    # After the fourth, 0.0008 is used, and a fifth might take it to 0.0011.
    assert meter.num_answers == 4
    assert meter.used == Usage(400, 200)
    assert len(refused) == 8
    assert "teacher.max_price: the cap of 0.001 is reached: 0.0008 used by 4 answers" in refused[0]
    assert "max_price=0.002" in refused[0]


def test_a_failed_call_releases_its_reservation() -> None:
    meter = CostMeter(Prices(max_tokens=250))
    with pytest.raises(ValueError, match="cut"), meter.reserve(Usage(100, 100)):
        raise ValueError("cut")
    with meter.reserve(Usage(100, 100)) as record_usage:
        record_usage(Usage(10, 10))
    assert str(meter) == "1 answer, 20 tokens"
    with pytest.raises(UserError, match=r"max_tokens=500"), meter.reserve(Usage(200, 100)):
        raise AssertionError("refused before the block")


def test_usage_of_earlier_starts_counts() -> None:
    meter = CostMeter(Prices(max_tokens=100), used=Usage(60, 30), num_answers=7)
    with pytest.raises(UserError, match="90 used by 7 answers"), meter.reserve(Usage(11, 0)):
        raise AssertionError("refused before the block")
