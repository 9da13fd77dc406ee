"""Guesses: what came after the same two tokens when they came last."""

from trainers import drafts
from trainers.drafts import Drafts


def test_the_last_place_of_a_pair_counts() -> None:
    known = Drafts()
    known.learn([1, 2, 3, 4, 5], 0)
    assert known.guess([9, 1, 2], 2) == [3, 4]
    assert known.guess([9, 1, 2], 9) == [3, 4, 5]
    assert known.guess([2, 1], 4) == known.guess([7], 4) == known.guess([1, 2], 0) == []
    known.learn([1, 2, 8], 0)
    assert known.guess([1, 2], 2) == [8]


def test_a_sequence_that_grows_is_read_as_it_is() -> None:
    known, row = Drafts(), [5, 6, 7]
    known.learn(row, 2)
    row += [5, 6]
    known.learn(row, 3)
    assert known.guess(row, 3) == [7, 5, 6]


def test_what_is_known_is_bounded(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(drafts, "MAX_KNOWN", 10)
    known = Drafts()
    for start in range(0, 200, 20):
        known.learn(range(start, start + 20), 0)
    assert known.guess([185, 186], 1) == [187] and known.guess([5, 6], 1) == []
