"""Outputs that ignore their rows are refused with examples, others are not."""

from random import Random

import pytest

from datasets_src.recipes.dependence import DependenceLimits, Made, check_dependence

LIMITS = DependenceLimits()
RNG = Random(3)
PLACES = ["Peñasca", "Umbría", "Calmera", "Fuensanta", "Campoluz", "Altotello", "Hoyamora"]
ANIMALS = ["buitre", "mirlo", "nutria", "tritón", "corzo", "gallipato", "búho", "lirón"]
TOPICS = ["big data", "sensores", "modelos", "aprendizaje", "cadenas de bloques", "gemelos"]


def text_of(animal: str, place: str) -> str:
    return f"En {place} se ha visto {animal} en una ruta de varios kilómetros junto al río."


ROWS = [(f"{a}:{p}", text_of(a, p)) for a in ANIMALS for p in PLACES]


def made(output: object) -> list[Made]:
    assert callable(output)
    return [Made(id, given, output(given)) for id, given in ROWS]


def test_outputs_of_their_rows_pass() -> None:
    found = check_dependence(
        made(lambda given: f"¿Dónde en {given.split()[1]} está {given.split()[5]}?"), LIMITS
    )
    assert found.faults == ()
    assert found.dependent is not None
    assert found.dependent > 0.7


def test_one_output_for_all_is_refused() -> None:
    found = check_dependence(made(lambda given: "¿Qué artículo trata de big data?"), LIMITS)
    assert found.same_outputs == 1.0
    assert found.faults[0].startswith(
        "dependence.max_same_outputs: 56 of 56 taught rows have the output of a row that was given"
        " something else, more than the 20 % allowed: buitre:Peñasca and "
    )
    assert "are both '¿Qué artículo trata de big data?'" in found.faults[0]


def test_nearly_one_output_for_all_is_refused() -> None:
    numbers = iter(range(100))
    words = "Un texto largo que dice siempre lo mismo sobre lo que se le ha pedido con otro número"
    found = check_dependence(made(lambda given: f"{words} {next(numbers)}"), LIMITS)
    assert found.same_outputs > 0.9
    assert "dependence.max_same_outputs" in found.faults[0]


def test_distinct_outputs_that_never_saw_their_row_are_refused() -> None:
    """As 1,601 questions did that a converter made of one hard-coded sentence."""
    rng = Random(1)

    def ask(given: str) -> str:
        a, b, c = (rng.choice([*TOPICS, *ANIMALS, *PLACES]) for _ in range(3))
        return f"¿Qué artículo {rng.randrange(1000)} trata de {a} con {b} y de {c}?"

    found = check_dependence(made(ask), LIMITS)
    assert found.same_outputs < 0.2
    assert found.dependent is not None
    assert found.dependent < 0.3
    (fault,) = found.faults
    assert "dependence.min_dependent" in fault
    assert "was given 'En " in fault


def test_outputs_of_the_row_before_are_refused() -> None:
    """Shifted by one, each is a fine output, of another row."""
    right = made(lambda given: f"¿Está {given.split()[5]} en {given.split()[1]}?")
    RNG.shuffle(right)
    shifted = [
        Made(a.id, a.given, b.output) for a, b in zip(right, [*right[1:], right[0]], strict=True)
    ]
    assert check_dependence(right, LIMITS).faults == ()
    assert "min_dependent" in check_dependence(shifted, LIMITS).faults[0]


def test_half_of_the_rows_is_seen() -> None:
    right = made(lambda given: f"¿Está {given.split()[5]} en {given.split()[1]}?")
    half = [Made(m.id, m.given, m.output if i % 2 else f"Nada {i}") for i, m in enumerate(right)]
    found = check_dependence(half, LIMITS)
    assert found.dependent is not None
    assert 0.4 < found.dependent <= 0.5


def test_equal_outputs_of_equal_rows_are_no_fault() -> None:
    rows = [Made(f"{id}:{i}", given, given[:40]) for id, given in ROWS for i in range(3)]
    assert check_dependence(rows, LIMITS).faults == ()


def test_paraphrases_may_share_an_output_others_not() -> None:
    wordings = ("¿Dónde está {}?", "Dime el lugar de {}", "Lugar donde vive {}")
    rows = [
        Made(f"{a}:{i}", wording.format(a), f"SELECT lugar FROM t WHERE nombre = '{a}'", a)
        for a in ANIMALS
        for i, wording in enumerate(wordings)
    ]
    assert check_dependence(rows, LIMITS).same_outputs == 0
    apart = [Made(m.id, m.given, m.output, m.id) for m in rows]
    assert check_dependence(apart, LIMITS).same_outputs == 1


@pytest.mark.parametrize("num", [0, 1, 7])
def test_few_rows_are_too_few_to_tell(num: int) -> None:
    found = check_dependence(made(lambda given: f"{given} nuevo")[:num], LIMITS)
    assert found.dependent is None
    assert found.faults == ()
