"""The model card: valid front matter, the numbers of the run, reproducible bytes."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers.hub_server import HubServer
from trainers.config.schema import Config
from trainers.hub.card import card_text
from trainers.hub.client import Kind
from trainers.hub.outbox import drain, enqueue
from trainers.storage.json_files import write_json, write_jsonl


def score(name: str, step: int | None, value: float, reply: str | None = None) -> dict[str, Any]:
    low, high = round(value - 0.1, 3), round(value + 0.1, 3)
    return {
        "name": name,
        "step": step,
        "n": 40,
        "metric": "execution_accuracy",
        "metrics": {"exact_match": value - 0.05, "execution_accuracy": value},
        "intervals": {"execution_accuracy": [low, high]},
        "predictions": f"predictions/{name}.jsonl",
        "seconds": 1.0,
        "constant_reply": reply,
    }


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "demo"
    rows = [score("base", None, 0.2), score("constant", None, 0.3, "SELECT a | b")]
    rows += [score("step-000010", 10, 0.5), score("step-000020", 20, 0.8)]
    write_jsonl(folder / "scores.jsonl", [*rows, score("step-000030", 30, 0.7)])
    write_json(
        folder / "data.json",
        {
            "data_hash": "ab" * 32,
            "num_rows": {"train": 132, "validation": 21},
            "num_groups": {"train": 17, "validation": 6},
            "dropped": [{"reason": "too long", "num_rows": 4, "examples": ["1"]}],
            "straddling_groups": ["19", "23"],
            "leaks": {
                "exact": {"num_rows": 3, "pairs": [{"train": "4", "validation": "28"}]},
                "near": {"num_rows": 0, "pairs": []},
            },
        },
    )
    write_json(folder / "run.json", {"versions": {"torch": "2.13.0"}, "status": "running"})
    return folder


def make_config(base: str = "BSC-LT/salamandra-2b-instruct", push: str = "best") -> Config:
    return Config.model_validate(
        {
            "run_name": "demo",
            "model": {"model_name_or_path": base},
            "data": {"train_file": "rows.jsonl"},
            "train": {"learning_rate": 0.0003},
            "hub": {"push": push, "hub_model_id": "tester/demo", "license": "apache-2.0"},
        }
    )


def front_matter(text: str) -> dict[str, Any]:
    start, meta, _ = text.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(meta)


@pytest.mark.parametrize(
    ("kind", "base", "relation", "library"),
    [
        ("adapter", "BSC-LT/salamandra-2b-instruct", "adapter", "peft"),
        ("checkpoint", "BSC-LT/salamandra-2b-instruct", "adapter", "peft"),
        ("merged", "BSC-LT/salamandra-2b-instruct", "finetune", "transformers"),
        ("gguf", "tester/demo-merged", "quantized", "gguf"),
    ],
)
def test_front_matter(run_dir: Path, kind: Kind, base: str, relation: str, library: str) -> None:
    meta = front_matter(card_text(run_dir, config=make_config(), kind=kind))
    assert meta == {
        "base_model": base,
        "base_model_relation": relation,
        "library_name": library,
        "pipeline_tag": "text-generation",
        "license": "apache-2.0",
        "tags": ["lora", "gallipato", "text2sql"],
        "data_hash": "ab" * 32,
    }


@pytest.mark.parametrize(
    ("method", "kind", "relation", "tags", "words"),
    [
        ("dora", "adapter", "adapter", ["lora", "dora"], "A DoRA adapter, tuned for"),
        ("qlora", "merged", "finetune", ["lora", "qlora"], "into the original weights of its base"),
        ("full", "merged", "finetune", [], "A model of which every weight was trained, tuned for"),
        ("full", "checkpoint", "finetune", [], "was trained, one of the checkpoints"),
    ],
)
def test_a_card_says_how_its_model_was_trained(
    run_dir: Path, method: str, kind: Kind, relation: str, tags: list[str], words: str
) -> None:
    raw = make_config().model_dump() | {"method": {"method_type": method}}
    text = card_text(run_dir, config=Config.model_validate(raw), kind=kind)
    meta = front_matter(text)
    assert meta["base_model_relation"] == relation
    assert meta["library_name"] == ("peft" if kind == "adapter" else "transformers")
    assert meta["tags"] == [*tags, "gallipato", "text2sql"]
    assert words in text and f"| `method_type` | `{method}` |" in text
    assert ("PeftModel" in text) == (kind == "adapter")
    assert ("lora_r" in text) == (method != "full")


def test_a_base_that_the_hub_does_not_have_is_no_base_model(run_dir: Path, tmp_path: Path) -> None:
    for base in ("pocket", str(tmp_path)):
        text = card_text(run_dir, config=make_config(base), kind="adapter")
        assert "base_model" not in front_matter(text)
        assert str(tmp_path) not in text
        assert f"from `{Path(base).name}`" in text


def test_scores_are_listed_with_the_baselines_and_the_best_is_marked(run_dir: Path) -> None:
    lines = card_text(run_dir, config=make_config(), kind="adapter").splitlines()
    start = lines.index("## Scores") + 2
    assert lines[start : start + 7] == [
        "|  | n | execution_accuracy | exact_match |",
        "| --- | --- | --- | --- |",
        "| untuned base | 40 | 0.200 [0.100, 0.300] | 0.150 |",
        "| best constant answer | 40 | 0.300 [0.200, 0.400] | 0.250 |",
        "| step-000010 | 40 | 0.500 [0.400, 0.600] | 0.450 |",
        "| step-000020 **(chosen)** | 40 | 0.800 [0.700, 0.900] | 0.750 |",
        "| step-000030 | 40 | 0.700 [0.600, 0.800] | 0.650 |",
    ]


def test_the_exported_checkpoint_is_the_chosen_one_and_its_gates_are_shown(run_dir: Path) -> None:
    gate = {"name": "q8_0 replies", "passed": True, "value": 21, "limit": 21, "detail": "21/21 | x"}
    write_json(run_dir / "artifact.json", {"checkpoint": "step-000010", "gates": [gate]})
    text = card_text(run_dir, config=make_config(), kind="gguf")
    assert "step-000010 **(chosen)**" in text
    assert "step-000020 **(chosen)**" not in text
    assert "| q8_0 replies | passed | 21/21 \\| x |" in text
    assert "Checks" not in card_text(run_dir, config=make_config(), kind="adapter")


def test_data_and_training_are_described(run_dir: Path) -> None:
    text = card_text(run_dir, config=make_config(), kind="merged")
    assert "| train | 132 | 17 |\n| validation | 21 | 6 |" in text
    assert "4 rows were dropped." in text
    assert "except 2 of the split as given: 19, 23. 3 validation rows have the inputs of" in text
    assert "| `learning_rate` | `0.0003` |" in text
    assert "| `lora_r` | `16` |" in text
    assert "Made with torch 2.13.0." in text


def test_the_lines_to_load_it_are_python(run_dir: Path) -> None:
    kinds: tuple[Kind, ...] = ("adapter", "merged")
    for kind in kinds:
        text = card_text(run_dir, config=make_config(), kind=kind)
        code = text.split("```python\n")[1].split("```")[0]
        compile(code, kind, "exec")
        assert "tester/demo" in code
    assert "-hf tester/demo-GGUF:Q8_0" in card_text(run_dir, config=make_config(), kind="gguf")


@pytest.mark.parametrize("prompt_end", [None, "\n</think>\n\n"])
def test_prompts_for_the_base_s_tokenizer_are_rendered_as_in_training(
    run_dir: Path, prompt_end: str | None
) -> None:
    pinned: dict[str, Any] = {"enable_thinking": False, "date_string": "26 Jul 2024"}
    pinned |= {} if prompt_end is None else {"prompt_end": prompt_end}
    data = json.loads((run_dir / "data.json").read_text("utf-8"))
    write_json(run_dir / "data.json", data | {"pinned": pinned})
    text = card_text(run_dir, config=make_config(), kind="adapter")
    assert "| `enable_thinking` | `False` |\n| `date_string` | `26 Jul 2024` |" in text
    code = text.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert "enable_thinking=False, date_string='26 Jul 2024')" in code
    assert code.rstrip().endswith(")" if prompt_end is None else f") + {prompt_end!r}")
    assert "apply_chat_template" not in card_text(run_dir, config=make_config(), kind="merged")


def test_a_run_without_records_still_has_a_card(tmp_path: Path) -> None:
    text = card_text(tmp_path, config=make_config(), kind="adapter")
    assert "## Scores" not in text
    assert "data_hash" not in front_matter(text)


def test_the_hub_takes_the_card_and_a_run_again_makes_no_commit(
    hub: HubServer, run_dir: Path
) -> None:
    config = make_config()
    (run_dir / "out").mkdir()
    (run_dir / "out" / "model.safetensors").write_bytes(b"w" * 100)
    for attempts in (1, 2):
        run = {"versions": {"torch": "2.13.0"}, "attempts": attempts, "time_s": {"train": attempts}}
        write_json(run_dir / "run.json", run)
        enqueue(
            run_dir,
            kind="merged",
            folder=run_dir / "out",
            repo_id="tester/demo-merged",
            message="merged",
            card=card_text(run_dir, config=config, kind="merged"),
        )
        assert all(result.ok for result in drain(run_dir, hub=config.hub))
    assert [c["title"] for c in hub.store.history("tester/demo-merged")] == [
        "merged",
        "initial commit",
    ]
    readme = hub.store.history("tester/demo-merged")[0]["tree"]["README.md"]
    text = (hub.store.objects / readme["sha256"]).read_text()
    assert text == card_text(run_dir, config=config, kind="merged")
    assert hub.count("validate-yaml") == 2
