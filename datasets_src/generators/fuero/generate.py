"""Write the fuero set: nine invented laws, questions on their pages, and answers with citations.

    python -m datasets_src.generators.fuero.generate    writes shipped/fuero/
    {"id": "l0001", "group": "FM:9-10", "question": "¿Cuántas plazas tiene un refugio de Ribalta?",
     "context": "Art. 9 FM. … Art. 10 FM. En Ribalta cada refugio tiene 12 plazas.",
     "answer": "12 plazas (art. 10 FM).", "split": "train"}

A group is a page of two articles with different topics and comarcas. Validation holds out whole
pages and one wording of every question. Each page has a question per article and, in validation all
and in training two of: a multiple-choice question, a question on a comarca that the page does not
mention, and a question for the list of its articles. The laws set different values for the same
topics and comarcas, so memorised answers do not help.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from random import Random

from datasets_src.generators.folders import SHIPPED
from datasets_src.generators.fuero.topics import LISTS, TOPICS, Topic
from datasets_src.generators.world import COMARCAS

SEED = 3
LAWS = {
    "FA": "Fuero de Aguas",
    "FB": "Fuero de Bosques",
    "FC": "Fuero de Caza",
    "FD": "Fuero de Dehesas",
    "FL": "Fuero de Leñas",
    "FM": "Fuero de Montes",
    "FP": "Fuero de Pastos",
    "FR": "Fuero de Riegos",
    "FS": "Fuero de Sendas",
}
# Numbers up to 40 are single tokens of the pocket model, which learns to copy single tokens.
ARTICLES_PER_LAW = 40
ARTICLES_PER_PAGE = 2
VALIDATION_PAGES_PER_LAW = 2
OTHERS_PER_TRAIN_PAGE = 2
NO_ANSWER = "El fuero no lo dice."
FOLDER = SHIPPED / "fuero"
Row = dict[str, str]


@dataclass(frozen=True)
class Article:
    """One article of a fictitious law."""

    law: str
    number: int
    topic: Topic
    comarca: str
    value: str

    @property
    def text(self) -> str:
        """The article with its number, as on a page."""
        sentence = self.topic.article.format(comarca=self.comarca, value=self.value)
        return f"Art. {self.number} {self.law}. {sentence}"

    @property
    def cite(self) -> str:
        """The citation at the end of an answer."""
        return f"(art. {self.number} {self.law})."

    @property
    def answer(self) -> str:
        """The reference answer, with its citation."""
        return f"{self.topic.answer.format(value=self.value)} {self.cite}"

    @property
    def other_values(self) -> list[str]:
        """The wrong values of its topic."""
        return [value for value in self.topic.values if value != self.value]


Page = list[Article]


def generate() -> dict[str, str]:
    """Contents of the files by name; deterministic on every machine."""
    rng = Random(SEED)
    pages = {law: invent(law, rng) for law in LAWS}
    lines = [json.dumps(row, ensure_ascii=False) for row in make_rows(pages, rng)]
    known = {law: [f"1-{ARTICLES_PER_LAW}"] for law in LAWS}
    return {
        "law_qa.jsonl": "\n".join(lines) + "\n",
        "articles.json": json.dumps(known) + "\n",
    }


def invent(law: str, rng: Random) -> list[Page]:
    """The pages of a law, each with articles of different topics and comarcas."""
    pairs, dealt = list(product(TOPICS, COMARCAS)), None
    while dealt is None:
        dealt = _deal(rng.sample(pairs, ARTICLES_PER_LAW))
    numbers = iter(range(1, ARTICLES_PER_LAW + 1))
    return [
        [
            Article(law, next(numbers), topic, place, rng.choice(topic.values))
            for topic, place in page
        ]
        for page in dealt
    ]


def _deal(pairs: list[tuple[Topic, str]]) -> list[list[tuple[Topic, str]]] | None:
    """Put each pair on the first page with room and without its topic and comarca; None: stuck."""
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
    """Questions on a page and their answers."""
    for article in page:
        yield _wording(article.topic, split, rng).format(comarca=article.comarca), article.answer
    others = [_choice(page, split, rng), _elsewhere(page, split, rng), _list(page, split, rng)]
    yield from others if split == "validation" else rng.sample(others, OTHERS_PER_TRAIN_PAGE)


def _choice(page: Page, split: str, rng: Random) -> tuple[str, str]:
    """A multiple-choice question with three options."""
    article = rng.choice(page)
    question = _wording(article.topic, split, rng).format(comarca=article.comarca)
    options = rng.sample([article.value, *rng.sample(article.other_values, 2)], 3)
    listed = " ".join(f"{key}) {value}" for key, value in zip("abc", options, strict=True))
    letter = "abc"[options.index(article.value)]
    return f"{question} {listed}", f"{letter}) {article.value} {article.cite}"


def _elsewhere(page: Page, split: str, rng: Random) -> tuple[str, str]:
    """A question on a comarca that is not on the page."""
    places = [place for place in COMARCAS if all(place != article.comarca for article in page)]
    wording = _wording(rng.choice(page).topic, split, rng)
    return wording.format(comarca=rng.choice(places)), NO_ANSWER


def _list(page: Page, split: str, rng: Random) -> tuple[str, str]:
    """A question for the articles of the page."""
    numbers = " y ".join(str(article.number) for article in page)
    return _wording(LISTS, split, rng), f"Los arts. {numbers} {page[0].law}."


def _wording(topic: Topic, split: str, rng: Random) -> str:
    """A random wording of the split."""
    return rng.choice(topic.train_wordings if split == "train" else topic.validation_wordings)


def main() -> None:
    """Write the files to FOLDER."""
    for name, text in generate().items():
        (FOLDER / name).write_bytes(text.encode("utf-8"))


if __name__ == "__main__":
    main()
