"""Drafts continue the last occurrence of the longest known n-gram."""

import pytest

from trainers.generation import ngram_drafts as drafts
from trainers.generation.ngram_drafts import NgramDrafts


def test_the_last_occurrence_of_the_longest_ngram_is_continued() -> None:
    known = NgramDrafts()
    known.learn([1, 2, 3, 4, 5], 0)
    assert known.draft([9, 1, 2], 2) == [3, 4]
    assert known.draft([9, 1, 2], 9) == [3, 4, 5]
    assert known.draft([7, 2], 2) == [3, 4], "by one token if two are unknown"
    assert known.draft([2, 5], 4) == known.draft([7], 4) == known.draft([1, 2], 0) == []
    known.learn([0, 2, 8], 0)
    assert known.draft([7, 2], 1) == [8]
    assert known.draft([1, 2], 1) == [3]
    known.learn([1, 2, 6], 0)
    assert known.draft([1, 2], 1) == [6]


def test_a_sequence_may_grow_after_it_is_learnt() -> None:
    known, row = NgramDrafts(), [5, 6, 7]
    known.learn(row, 2)
    row += [5, 6]
    known.learn(row, 3)
    assert known.draft(row, 3) == [7, 5, 6]


def test_a_draft_continues_past_the_end_of_a_sequence() -> None:
    known = NgramDrafts()
    known.learn([1, 2, 3], 0)
    known.learn([2, 3, 4, 9], 0)
    assert known.draft([0, 1], 9) == [2, 3, 4, 9]
    known.learn([7, 8, 7], 0)
    assert known.draft([7], 5) == [8, 7, 8, 7, 8]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "MAX_KNOWN", 10)
    known = NgramDrafts()
    for start in range(0, 200, 20):
        known.learn(range(start, start + 20), 0)
    assert known.draft([185, 186], 1) == [187] and known.draft([5, 6], 1) == []
