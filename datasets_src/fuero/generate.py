"""Write the fuero set: two invented laws, questions on their pages, and answers that cite them.

    python -m datasets_src.fuero.generate     writes law_qa.jsonl, articles.json beside this file
    {"id": "l0001", "group": "FM:10-12", "question": "¿Cuántas plazas tiene un refugio de Ribalta?",
     "context": "Art. 10 FM. Cada refugio de Ribalta tiene 12 plazas. …",
     "answer": "12 plazas (art. 10 FM).", "split": "train"}

A group is a page of three articles. Validation holds out whole pages and a wording of every
question. On a page no two articles have a topic or a comarca in common. Of each there are plain
questions, one with options, one on a comarca that the page does not name, and one for a list.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random

from datasets_src.fuero.topics import LISTS, TOPICS, Topic
from datasets_src.senderos.facts import COMARCAS

SEED = 3
LAWS = {"FM": "Fuero de Montes", "FA": "Fuero de Aguas"}
ARTICLES_PER_PAGE = 3
VALIDATION_PAGES_PER_LAW = 8
WORDINGS_PER_TRAIN_ARTICLE = 2
NO_ANSWER = "El fuero no lo dice."
HERE = Path(__file__).parent

Row = dict[str, str]


@dataclass(frozen=True)
class Article:
    """One article; nothing here is the law of any real place."""

    law: str
    number: int
    topic: Topic
    comarca: str
    value: str

    @property
    def text(self) -> str:
        """The article as it stands in its law."""
        sentence = self.topic.article.format(comarca=self.comarca, value=self.value)
        return f"Art. {self.number} {self.law}. {sentence}"

    @property
    def cite(self) -> str:
        """Behind an answer."""
        return f"(art. {self.number} {self.law})."

    @property
    def answer(self) -> str:
        """What it rules."""
        return f"{self.topic.answer.format(value=self.value)} {self.cite}"

    @property
    def choices(self) -> list[str]:
        """Its value and other ones."""
        return [value for value in self.topic.values if value != self.value]


Page = list[Article]


def generate() -> dict[str, str]:
    """Contents of the files by name; the same on every machine."""
    rng = Random(SEED)
    pages = {law: invent(law, rng) for law in LAWS}
    lines = [json.dumps(row, ensure_ascii=False) for row in make_rows(pages, rng)]
    known = {law: [f"1-{len(made) * ARTICLES_PER_PAGE}"] for law, made in pages.items()}
    return {
        "law_qa.jsonl": "\n".join(lines) + "\n",
        "articles.json": json.dumps(known) + "\n",
    }


def invent(law: str, rng: Random) -> list[Page]:
    """The pages of a law: an article for each topic and comarca."""
    pairs = list(product(TOPICS, COMARCAS))
    dealt = None
    while dealt is None:
        rng.shuffle(pairs)
        dealt = _deal(pairs)
    numbers = iter(range(1, len(pairs) + 1))
    return [
        [
            Article(law, next(numbers), topic, place, rng.choice(topic.values))
            for topic, place in page
        ]
        for page in dealt
    ]


def _deal(pairs: list[tuple[Topic, str]]) -> list[list[tuple[Topic, str]]] | None:
    """Each pair to the first page that has room and neither its topic nor its comarca."""
    pages: list[list[tuple[Topic, str]]] = [[] for _ in range(len(pairs) // ARTICLES_PER_PAGE)]
    for topic, place in pairs:
        fitting = (
            page
            for page in pages
            if len(page) < ARTICLES_PER_PAGE and all(topic != t and place != p for t, p in page)
        )
        page = next(fitting, None)
        if page is None:
            return None
        page.append((topic, place))
    return pages


def make_rows(pages: dict[str, list[Page]], rng: Random) -> list[Row]:
    """Rows of both splits, train first, in random order within a split."""
    rows: list[Row] = []
    for made in pages.values():
        held_out = rng.sample(range(len(made)), VALIDATION_PAGES_PER_LAW)
        for index, page in enumerate(made):
            split = "validation" if index in held_out else "train"
            rows += ({**row, "split": split} for row in _page_rows(page, split, rng))
    rng.shuffle(rows)
    rows.sort(key=lambda row: row["split"])  # stable: "train" before "validation"
    return [{"id": f"l{i:04d}", **row} for i, row in enumerate(rows, 1)]


def _page_rows(page: Page, split: str, rng: Random) -> Iterator[Row]:
    for question, answer in _questions(page, split, rng):
        yield {
            "group": f"{page[0].law}:{page[0].number}-{page[-1].number}",
            "question": question,
            "context": "\n".join(article.text for article in page),
            "answer": answer,
        }


def _questions(page: Page, split: str, rng: Random) -> Iterator[tuple[str, str]]:
    """Questions and answers of a page, one of each kind but for the plain ones."""
    for article in page:
        for wording in _wordings(article.topic, split, rng)[:WORDINGS_PER_TRAIN_ARTICLE]:
            yield wording.format(comarca=article.comarca), article.answer
    article = rng.choice(page)
    [wording, *_] = _wordings(article.topic, split, rng)
    question = wording.format(comarca=article.comarca)
    options = rng.sample([article.value, *rng.sample(article.choices, 2)], 3)
    letter = "abc"[options.index(article.value)]
    listed = " ".join(f"{key}) {value}" for key, value in zip("abc", options, strict=True))
    yield f"{question} {listed}", f"{letter}) {article.value} {article.cite}"
    elsewhere = rng.choice([c for c in COMARCAS if all(c != a.comarca for a in page)])
    [wording, *_] = _wordings(article.topic, split, rng)
    yield wording.format(comarca=elsewhere), NO_ANSWER
    [wording, *_] = _wordings(LISTS, split, rng)
    yield wording, f"{LISTS.answer} arts. {page[0].number} a {page[-1].number} {page[0].law}."


def _wordings(topic: Topic, split: str, rng: Random) -> list[str]:
    """Those of the split, in random order."""
    own = topic.train_wordings if split == "train" else topic.validation_wordings
    return rng.sample(own, len(own))


def main() -> None:
    """Write the files beside this script."""
    for name, text in generate().items():
        (HERE / name).write_bytes(text.encode("utf-8"))


if __name__ == "__main__":
    main()
