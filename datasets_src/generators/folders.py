"""The output folder of the generators: SHIPPED / "fauna" holds the rows of generators/fauna."""

from pathlib import Path

SHIPPED = Path(__file__).resolve().parents[1] / "shipped"
