"""Guesses of what a row says next: what came after the same two tokens when they came last.

drafts.learn([5, 7, 8, 9, 10], 0)
drafts.guess([6, 7, 8], 4) == [9, 10]

Replies to one task say the same things, and repeat what the prompt says. A right guess is a token
that costs no pass, a wrong one costs a place that nobody else needed.
"""

from collections.abc import Sequence

LENGTH = 2
# Places that are known before all are forgotten: some 300 MB.
MAX_KNOWN = 2_000_000


class Drafts:
    """Where each pair of tokens came last."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], tuple[Sequence[int], int]] = {}

    def learn(self, tokens: Sequence[int], start: int) -> None:
        """Take in the tokens from `start` on of a sequence, which may go on to grow."""
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
        for place in range(max(start, LENGTH), len(tokens)):
            self._known[tuple(tokens[place - LENGTH : place])] = tokens, place

    def guess(self, said: Sequence[int], num: int) -> list[int]:
        """Up to `num` tokens after those; where a sequence ends, what followed its end elsewhere.

        So a reply that goes in a circle is guessed to the full, though its last round is short.
        """
        guessed = list(said[-LENGTH:])
        while (missing := num + LENGTH - len(guessed)) > 0:
            found = self._known.get(tuple(guessed[-LENGTH:]))
            if found is None:
                break
            tokens, place = found
            guessed += tokens[place : place + missing]
        return guessed[LENGTH:]
