"""The signals that stop a run: noted while workers save, raised immediately otherwise."""

import signal
from collections.abc import Iterator

import pytest

from trainers.process.signals import SIGNALS, RunFailed, StoppedBySignal, StopSignal


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    """A StopSignal with its handlers installed; the old ones are restored afterwards."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    request = StopSignal()
    request.install()
    yield request
    for signum, handler in before.items():
        signal.signal(signum, handler)


def test_the_first_is_noted_and_the_second_raises(stop: StopSignal) -> None:
    with pytest.raises(StoppedBySignal, match="stopped by SIGINT"), stop.graceful():
        signal.raise_signal(signal.SIGTERM)
        assert stop.signum == signal.SIGTERM
        with pytest.raises(StoppedBySignal, match="stopped by SIGTERM"):
            stop.raise_if_asked()
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the second one was only noted")
    assert stop.signum == signal.SIGINT


@pytest.mark.parametrize("signum", SIGNALS)
def test_outside_it_raises_immediately(stop: StopSignal, signum: signal.Signals) -> None:
    with pytest.raises(StoppedBySignal, match=f"stopped by {signum.name}"):
        signal.raise_signal(signum)


def test_after_it_raises_immediately(stop: StopSignal) -> None:
    with stop.graceful():
        stop.raise_if_asked()
    with pytest.raises(StoppedBySignal):
        signal.raise_signal(signal.SIGTERM)


def test_a_fault_within_does_not_leave_it_graceful(stop: StopSignal) -> None:
    with pytest.raises(KeyError), stop.graceful():
        raise KeyError
    with pytest.raises(StoppedBySignal):
        signal.raise_signal(signal.SIGTERM)


def test_a_handler_put_in_our_place_is_replaced_again(stop: StopSignal) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as ray.init() does with its own
    stop.install()
    with stop.graceful():
        signal.raise_signal(signal.SIGTERM)
    assert stop.signum == signal.SIGTERM


def test_exit_codes() -> None:
    assert [StoppedBySignal(s).exit_code for s in SIGNALS] == [130, 143, 143]
    assert not isinstance(StoppedBySignal(signal.SIGTERM), Exception), (
        "an error handler would catch it"
    )


def test_a_lost_run_is_no_stop(stop: StopSignal) -> None:
    stop.raise_if_asked()
    with stop.graceful():
        signal.raise_signal(signal.SIGTERM)
    stop.lose("process 7 on host-1 has it")
    with pytest.raises(RunFailed, match="lost its run: process 7 on host-1 has it"):
        stop.raise_if_asked()
