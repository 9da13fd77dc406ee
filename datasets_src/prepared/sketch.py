"""MinHash sketches: equal texts have equal digests, near duplicates share a band.

text = fold(["Rutas  fáciles", "menos de 9 km"])       ignores case and white space
sketch(text)                          -> (digest, bands [NUM_BANDS])
jaccard(shingles(a), shingles(b))     -> 0.86

A shingle is the hash of a word trigram. Each of 144 random permutations selects the minimum of a
text's shingles (MinHash; Broder, "On the resemblance and containment of documents", 1997), and a
band combines six of these minima into one number. Two texts whose shingles have Jaccard similarity
J share a given band with probability J**6, and at least one of the 24 bands with probability 0.999
at J = 0.8, 0.3 at 0.5 and 0.02 at 0.3.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

SHINGLE_WORDS = 3
NUM_BANDS, ROWS_PER_BAND = 24, 6
SEPARATOR = " \x1f "  # str.split treats it as white space, so no folded text contains it
Hashes = NDArray[np.uint32]
_RNG = np.random.default_rng(1997)
# Multiplying by an odd number, modulo a power of two, is a permutation.
_SHAPE = (ROWS_PER_BAND, NUM_BANDS, 1)
_SCALE = _RNG.integers(0, 2**31, _SHAPE, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
_SHIFT = _RNG.integers(0, 2**32, _SHAPE, dtype=np.uint32)
_IN_BAND = _RNG.integers(0, 2**63, ROWS_PER_BAND, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio, as in SplitMix64
_BASE = 0xD1342543DE82EF95
_SPACE, _HALF = ord(" "), np.uint64(32)


def fold(texts: Sequence[str]) -> bytes:
    """The texts case-folded, with single spaces, joined by SEPARATOR, in UTF-8."""
    folded = SEPARATOR.join(" ".join(text.casefold().split()) for text in texts)
    return folded.encode("utf-8", "surrogatepass")


def sketch(text: bytes) -> tuple[int, Hashes]:
    """A 64-bit digest of a folded text, and its bands, uint32 [NUM_BANDS]."""
    digest = int.from_bytes(blake2b(text, digest_size=8).digest(), "little")
    hashes = _shingles(text)
    bands = np.zeros(NUM_BANDS, np.uint64)
    # Cache-blocked: six permutations at a time stay in the CPU cache and take half the time.
    for scale, shift, factor in zip(_SCALE, _SHIFT, _IN_BAND, strict=True):
        bands += (hashes * scale + shift).min(axis=1) * factor
    return digest, (bands >> _HALF).astype(np.uint32)


def shingles(text: bytes) -> Hashes:
    """The distinct shingles of a folded text, sorted; a text of fewer words is one shingle."""
    return np.unique(_shingles(text))


def jaccard(a: Hashes, b: Hashes) -> float:
    """Jaccard similarity |a & b| / |a | b| of two sets of shingles."""
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


def _shingles(text: bytes) -> Hashes:
    """Polynomial hashes of all word trigrams, as differences of one prefix hash."""
    data = np.frombuffer(text, np.uint8)
    powers, inverses = _powers(1 << len(data).bit_length())
    running = np.zeros(len(data) + 1, np.uint64)
    np.cumsum((data + np.uint64(1)) * powers[: len(data)], out=running[1:])
    spaces = np.flatnonzero(data == _SPACE)
    starts = np.concatenate([[0], spaces + 1])
    ends = np.concatenate([spaces, [len(data)]])[SHINGLE_WORDS - 1 :]
    starts = starts[: len(ends)]
    if not len(ends):
        starts, ends = np.array([0]), np.array([len(data)])
    hashes = (running[ends] - running[starts]) * inverses[starts]
    hashes ^= hashes >> _HALF
    return (hashes * _MIX >> _HALF).astype(np.uint32)


@lru_cache(maxsize=32)
def _powers(num: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Powers 0 to num - 1 of _BASE modulo 2**64, and their inverses."""
    return _powers_of(_BASE, num), _powers_of(pow(_BASE, -1, 2**64), num)


def _powers_of(base: int, num: int) -> NDArray[np.uint64]:
    factors = np.full(num, base, np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)
