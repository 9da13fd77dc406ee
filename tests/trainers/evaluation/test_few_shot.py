"""The few-shot baseline of a run: which examples, how many fit, and its printed summary."""

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
import torch

from datasets_src.chat.families import PRESETS
from datasets_src.chat.tokenise import auto_tokenizer
from datasets_src.prepared.store import Split, SplitWriter, open_split
from datasets_src.split import share_of
from tests.trainers.export.tiny_export import ROWS, alone, build_base, dialogues, edit_json, teach
from trainers.config.schema import Config
from trainers.evaluation.evaluate import EvalSpec, evaluate
from trainers.evaluation.few_shot import few_shot_of_run
from trainers.generation.sampling import preset_replies
from trainers.models.load import load_base, load_tokenizer
from trainers.storage.json_files import read_jsonl

SHARED = {"schema": "", "database": "", "dialect": "sqlite", "bindings": []}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base, and its twelve rows in six groups: ten to train on, two held out."""
    folder = build_base(tmp_path_factory.mktemp("prompting") / "base")
    rows = list(zip(ROWS, dialogues(folder), strict=True))
    # Group g5 is on both sides, as a split that the rows bring may have it.
    for name, part in (("train", range(11)), ("validation", range(10, 12))):
        writer = SplitWriter(folder.parent / f"{name}.parquet", {})
        columns = {
            "id": [f"r{i}" for i in part],
            "group": [f"g{i // 2}" for i in part],
            "length": [len(rows[i][1][0]) for i in part],
            "prompt_len": [rows[i][1][1] for i in part],
            "input_ids": [rows[i][1][0] for i in part],
            "example": [
                json.dumps(
                    {
                        "inputs": {"question": rows[i][0][0], **SHARED},
                        "absent": [],
                        "target": rows[i][0][1],
                    }
                )
                for i in part
            ],
        }
        writer.write(pa.table(columns))
        writer.close()
    return folder


@pytest.fixture
def splits(base: Path) -> tuple[Split, Split]:
    return open_split(base.parent, "train"), open_split(base.parent, "validation")


def config_for(base: Path, *, template: str = "chat", **asked: object) -> Config:
    return Config.model_validate(
        {
            "run_name": "x",
            "model": {"model_name_or_path": str(base)},
            "data": {"train_file": "rows.jsonl", "template": template},
            "eval": {"max_new_tokens": 16} | asked,
        }
    )


def test_examples_are_of_the_training_rows_and_no_group_that_is_held_out(
    base: Path, splits: tuple[Split, Split]
) -> None:
    found = few_shot_of_run(config_for(base), base, *splits)
    assert found is not None and found.prompts_of is not None
    groups = sorted((f"g{i}" for i in range(5)), key=lambda group: share_of(group, seed=42))[:3]
    ids = found.summary.removeprefix("3 training examples (").partition(")")[0].split(", ")
    assert [f"g{int(id[1:]) // 2}" for id in ids] == groups
    text = auto_tokenizer(base).decode(found.prompts_of([1])[0])
    asked = [f"<|im_start|>user\n{ROWS[int(id[1:])][0]}<|im_end|>\n" for id in ids]
    places = [text.index(part) for part in (*asked, ROWS[11][0])]
    assert places == sorted(places)
    assert text.count("<|im_start|>assistant\n") == 4
    assert text.endswith(f"{ROWS[11][0]}<|im_end|>\n<|im_start|>assistant\n")
    longest = max(map(len, found.prompts_of([0, 1])))
    assert found.summary.endswith(f"; prompts of up to {longest} tokens")
    other = config_for(base).train.model_copy(update={"seed": 7})
    again = few_shot_of_run(config_for(base).model_copy(update={"train": other}), base, *splits)
    assert again is not None and again.summary != found.summary


def test_fewer_examples_where_there_are_no_more_groups_or_no_room(
    base: Path, splits: tuple[Split, Split], tmp_path: Path
) -> None:
    many = few_shot_of_run(config_for(base, num_few_shot=9), base, *splits)
    assert many is not None and many.summary.startswith("5 training examples (")
    assert many.summary.endswith("; 9 requested, but no other training group has a row")
    three = few_shot_of_run(config_for(base), base, *splits)
    assert three is not None and three.prompts_of is not None
    longest = max(map(len, three.prompts_of([0, 1])))
    small = shutil.copytree(base, tmp_path / "small")
    for context, num in ((longest + 16, 3), (longest + 15, 2)):
        edit_json(small / "config.json", max_position_embeddings=context)
        found = few_shot_of_run(config_for(small), small, *splits)
        assert found is not None and found.prompts_of is not None
        assert found.summary.startswith(f"{num} training examples (")
        assert all(len(prompt) + 16 <= context for prompt in found.prompts_of([0, 1]))
    assert found is not None and found.summary.endswith(
        f"; more examples do not fit the context of {longest + 15} tokens with max_new_tokens=16"
    )
    edit_json(small / "config.json", max_position_embeddings=60)
    none = few_shot_of_run(config_for(small), small, *splits)
    assert (
        none is not None
        and none.prompts_of is None
        and none.summary.startswith("no training example;")
    )
    prompted = few_shot_of_run(config_for(small, system_prompt="Solo SQL."), small, *splits)
    assert prompted is not None and prompted.prompts_of is not None
    assert "a system prompt of 9 characters" in prompted.summary


@pytest.mark.parametrize("off", [{"num_few_shot": 0}, {"eval_on_start": False}])
def test_no_such_row_where_it_is_off(
    base: Path, splits: tuple[Split, Split], off: dict[str, Any]
) -> None:
    assert few_shot_of_run(config_for(base, **off), base, *splits) is None


def test_a_plain_template_is_asked_in_plain_text(base: Path, splits: tuple[Split, Split]) -> None:
    config = config_for(base, template="plain", num_few_shot=1, system_prompt="Solo SQL.")
    found = few_shot_of_run(config, base, *splits)
    assert found is not None and found.prompts_of is not None
    [prompt] = found.prompts_of([0])
    text = auto_tokenizer(base).decode(prompt)
    assert text.startswith("<s>Solo SQL.\n\n### Base de datos:\n")
    assert text.endswith(f"### Instrucción: {ROWS[10][0]}\n### SQL:")
    assert text.count("### SQL:") == 2


def test_a_score_is_of_the_replies_to_what_was_asked_under_the_preset(
    base: Path, splits: tuple[Split, Split], tmp_path: Path
) -> None:
    model, tokenizer = load_base(base, torch.float32), load_tokenizer(base)
    with alone():  # so that the prompt decides, not the draw alone
        teach(model.requires_grad_(True), base, steps=15, learning_rate=1e-2)
    task = ModuleType("lengths")
    task.METRIC, task.METRICS = "short", ("short",)  # type: ignore[attr-defined]
    task.score = lambda row, reply: {"short": float(len(reply) < 40)}  # type: ignore[attr-defined]
    task.why = lambda row, reply, scores: ""  # type: ignore[attr-defined]
    few_shot = few_shot_of_run(config_for(base), base, *splits)
    assert few_shot is not None and few_shot.prompts_of is not None
    validation = splits[1]
    made = {}
    for name, preset, prompts_of in (
        ("base", "doi", None),
        ("few_shot", "doi", few_shot.prompts_of),
        ("greedy", "greedy", few_shot.prompts_of),
    ):
        spec = EvalSpec(
            name=name,
            step=None,
            run_dir=tmp_path,
            metric="short",
            max_new_tokens=8,
            batch_size=2,
            stop=(),
            preset=PRESETS[preset],
            seed=3,
        )
        with alone():
            evaluate(model, tokenizer, validation, task=task, spec=spec, prompts_of=prompts_of)
            prompts = (
                [list(validation.tokens(i).input_ids[: validation.prompt_lens[i]]) for i in (0, 1)]
                if prompts_of is None
                else prompts_of([0, 1])
            )
            wanted = preset_replies(
                model,
                tokenizer,
                prompts,
                row_ids=validation.ids,
                preset=PRESETS[preset],
                seed=3,
                max_new_tokens=8,
            )
        rows = read_jsonl(tmp_path / f"predictions/{name}.jsonl")
        made[name] = [row["reply"] for row in rows]
        assert made[name] == [reply.text for reply in wanted], name
    assert len({tuple(replies) for replies in made.values()}) == 3
