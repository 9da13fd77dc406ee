"""Write the consultas queries as IMPULSE batches, the input of the recipe `impulse`.

    python -m datasets_src.generators.consultas.batches    writes shipped/consultas/batches/
    batch1.json     [{"meta": {"id": "CONSULTAS_001", "lang": "ES", "original_query": "…"}, …}]
    batch2.json     {"queries": [{…}, …]}

Only training rows are used. There are no groups, as IMPULSE's batches have none.
"""

import json
from random import Random
from typing import Any

from datasets_src.generators.consultas.generate import SEED, make_rows
from datasets_src.generators.folders import SHIPPED

NUM_QUERIES = 90
FOLDER = SHIPPED / "consultas" / "batches"


def generate() -> dict[str, str]:
    """Contents of the files by name; deterministic on every machine."""
    rows = [row for row in make_rows(Random(SEED)) if row["split"] == "train"]
    queries = list({row["query"]: row for row in rows}.values())[:NUM_QUERIES]
    batch = [_query(number, row) for number, row in enumerate(queries, start=1)]
    half = len(batch) // 2
    return {
        "batch1.json": _written(batch[:half]),
        "batch2.json": _written({"queries": batch[half:]}),
    }


def _query(number: int, row: dict[str, Any]) -> dict[str, Any]:
    target = row["target"]
    meta = {"id": f"CONSULTAS_{number:03d}", **target["meta"], "original_query": row["query"]}
    return {"meta": meta, **{name: target[name] for name in target if name != "meta"}}


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def main() -> None:
    """Write the files to FOLDER."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in generate().items():
        (FOLDER / name).write_bytes(text.encode("utf-8"))


if __name__ == "__main__":
    main()
