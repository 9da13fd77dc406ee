"""Numbers in Spanish notation, and in the other notations that rows use."""

import pytest

from datasets_src.text.spanish_numbers import numbers_in, numbers_in_json
from tests.datasets_src.growth import LINEAR, growth


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("pesa 1.234,5 kg", ["1234.5"]),
        ("a 3 500 m, a 3\u00a0500 m y a 3\u202f500 m", ["3500", "3500", "3500"]),
        ("3.500 m", ["3500"]),
        ("1.234.567", ["1234567"]),
        ("12,5 km y 12,50 km", ["12.5", "12.5"]),
        ("12.5 mm", ["12.5"]),  # three digits group thousands, others do not
        ("0.123 y 0,5", ["0.123", "0.5"]),
        ("1.2345", ["1.2345"]),
        ("1,234.5 y 1,234,567", ["1234.5", "1234567"]),
        ("5-15 cm, 5–15 cm, de 5 a 15", ["5", "15", "5", "15", "5", "15"]),
        ("entre 700-1.100 m", ["700", "1100"]),
        ("en 2019-2023 y en 2019 500 veces", ["2019", "2023", "2019", "500"]),
        ("el 12.03.2023 o el 12/3/2023", ["12", "3", "2023", "12", "3", "2023"]),
        ("fórmula 3.1.4.2/3.1", ["3", "1", "4", "2", "3.1"]),
        ("35x5,5 cm", ["35", "5.5"]),
        ("-5 °C, 50 %, 1.º, 15cm", ["5", "50", "1", "15"]),
        ("007 y 2,0", ["7", "2"]),
        ("12,5.", ["12.5"]),
        ("siglo XIX, dos, CO2, km2, m², \\u00f1", []),
    ],
)
def test_one_form_for_each_number(text: str, numbers: list[str]) -> None:
    assert numbers_in(text) == numbers


def test_a_point_is_decimal_in_json_and_keys_do_not_count() -> None:
    text = '[{"km 9": 12.345, "alt": "1.100 m", "c": "\\u00c1vila 3", "n": null, "t": -7}]'
    assert sorted(numbers_in_json(text)) == ["1100", "12.345", "3", "7"]
    assert numbers_in_json("no es JSON: 1.100") == ["1100"]
    assert numbers_in_json("[" * 100_000 + "3") == ["3"]


@pytest.mark.parametrize("unit", ["1 111 ", "1.111", "1", "1,"])
def test_time_is_linear_in_the_text(unit: str) -> None:
    assert growth(lambda num: numbers_in(unit * num + "1"), 50_000 // len(unit)) < LINEAR
