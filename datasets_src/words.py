"""Token ids of texts, several times faster where a tokenizer's words are independent.

encoder = open_encoder(Tokenizer.from_file("tokenizer.json"))
encoder(["¿Cuántas rutas hay?"]) == [tokenizer.encode("¿Cuántas rutas hay?").ids]

Sentencepiece BPE (Salamandra, Llama 2, Mistral, Gemma) merges a whole text at once. If no merge
makes a piece with a space after another character, nothing merges across the start of a word: each
word, with the spaces before it, has ids of its own, and the ids of a text are theirs in a row. So
each distinct word is tokenised once. Measured on species descriptions: 5 times the speed.
"""

import json
import re
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from tokenizers import Tokenizer

SPACE = "▁"
WORD = re.compile(f"{SPACE}*[^{SPACE}]+|{SPACE}+")
CROSSING = re.compile(f"[^{SPACE}]{SPACE}")
# About 40 MB of words in a worker; then it starts anew.
MAX_WORDS = 200_000

Encode = Callable[[Sequence[str]], list[list[int]]]


def open_encoder(tokenizer: Tokenizer) -> Encode:
    """A function from texts to ids, without special tokens added: by words where that is exact."""
    parts = json.loads(tokenizer.to_str())
    if has_independent_words(parts):
        return WordEncoder(parts).encode

    def encode(texts: Sequence[str]) -> list[list[int]]:
        encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    return encode


def has_independent_words(parts: dict[str, Any]) -> bool:
    """Whether a tokenizer.json gives each word its ids whatever stands around it."""
    model, before = parts["model"], parts["pre_tokenizer"]
    plain_bpe = model["type"] == "BPE" and not any(
        model.get(key)
        for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
    )
    metaspace = (
        before is not None
        and before["type"] == "Metaspace"
        and before["replacement"] == SPACE
        and before.get("split") is False
    )
    added = parts["added_tokens"]
    plain_added = len({token["normalized"] for token in added}) <= 1 and not any(
        token["lstrip"] or token["rstrip"] or token["single_word"] for token in added
    )
    if not (plain_bpe and metaspace and plain_added and parts["normalizer"] is None):
        return False
    # Unknown characters in a row are one token: a known space keeps those of two words apart.
    if SPACE not in model["vocab"]:
        return False
    return not any(CROSSING.search("".join(merge)) for merge in model["merges"])


class WordEncoder:
    """Looks words up; those it has not seen are tokenised by the model itself, all at once."""

    def __init__(self, parts: dict[str, Any]) -> None:
        bare = {**parts, "added_tokens": [], "pre_tokenizer": None, "post_processor": None}
        self._model = Tokenizer.from_str(json.dumps(bare))
        self._prepend: str = parts["pre_tokenizer"]["prepend_scheme"]
        self._added: dict[str, int] = {t["content"]: t["id"] for t in parts["added_tokens"]}
        # Longest first: where one added token begins another, the longer is meant.
        names = sorted(self._added, key=len, reverse=True)
        self._cut = re.compile(f"({'|'.join(map(re.escape, names))})") if names else None
        # Words, and added tokens by their id: a word may look like an added token with a space.
        self._ids: dict[str | int, tuple[int, ...]] = {}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, as the whole tokenizer gives them without special tokens added."""
        rows = [self._words(text) for text in texts]
        ids = self._learn(rows)
        return [list(chain.from_iterable(map(ids.__getitem__, row))) for row in rows]

    def _learn(self, rows: Sequence[list[str | int]]) -> dict[str | int, tuple[int, ...]]:
        if not 0 < len(self._ids) < MAX_WORDS:
            self._ids = {token: (token,) for token in self._added.values()}
        seen = set(chain.from_iterable(rows)).difference(self._ids)
        new = [word for word in seen if isinstance(word, str)]
        encodings = self._model.encode_batch_fast(new, add_special_tokens=False)
        self._ids.update((w, tuple(e.ids)) for w, e in zip(new, encodings, strict=True))
        return self._ids

    def _words(self, text: str) -> list[str | int]:
        pieces = self._cut.split(text) if self._cut else [text]
        words: list[str | int] = []
        # Every other piece is an added token; what is between two of them may be empty.
        for number, piece in enumerate(pieces):
            if number % 2:
                words.append(self._added[piece])
            elif piece:
                words += WORD.findall(self._spaced(piece, first=number == 0))
        return words

    def _spaced(self, piece: str, *, first: bool) -> str:
        piece = piece.replace(" ", SPACE)
        prepend = self._prepend == "always" or (self._prepend == "first" and first)
        return SPACE + piece if prepend and not piece.startswith(SPACE) else piece
