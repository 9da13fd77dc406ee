"""Faults of a config: all at once, each naming key, value and remedy."""

from pathlib import Path

import pytest

from datasets_src.errors import UserError
from trainers.config.load import dump_config, leaves, load_config
from trainers.config.schema import DoraMethod, FullMethod, LoraMethod, QloraMethod

GOOD = "run_name: demo\ndata: {train_file: rows.jsonl}\n"


def faults_of(tmp_path: Path, text: str, overrides: list[str] | None = None) -> str:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_config(path, overrides or [])
    return "\n".join(caught.value.faults)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            GOOD + "train: {learning_rat: 1}",
            ["train.learning_rat", "did you mean train.learning_rate"],
        ),
        (GOOD + "train: {lora_r: 8}", ["train.lora_r", "it is method.lora_r"]),
        (GOOD + "train: {learning_rate: fast}", ["train.learning_rate", "'fast'", "valid number"]),
        (GOOD + "train: {learning_rate: -1}", ["train.learning_rate", "-1", "greater than 0"]),
        (
            GOOD + "train: {lr_scheduler_type: sine}",
            ["'sine'", "'warmup_stable_decay' or 'piecewise_constant'"],
        ),
        (GOOD + "train: {micro_batch_size: 1}", ["train_batch_size", "over all workers"]),
        (
            GOOD + "method: {method_type: full, lora_r: 8}",
            ["method.lora_r", "full has no lora_r", "lora or dora or qlora"],
        ),
        (
            GOOD + "method: {bnb_4bit_use_double_quant: false}",
            ["lora has no bnb_4bit_use_double_quant", "set method_type=qlora"],
        ),
        (GOOD + "method: {method_type: lroa}", ["method.method_type: 'lroa'", "'qlora', 'full'"]),
        (GOOD + "method: {method_type: dora, lora_rr: 8}", ["did you mean method.lora_r?"]),
        (GOOD + "method: {method_type: qlora, lora_r: 0}", ["method.lora_r: 0", "equal to 1"]),
        (GOOD + "method: qlora", ["method: 'qlora'", "dictionary"]),
        (GOOD + "hub: {push: best}", ["hub_model_id=owner/name"]),
        (
            GOOD + "model: {chat_template: lama3}",
            ["model.chat_template: 'lama3' is unknown", "did you mean llama3?", "mistral, falcon"],
        ),
        (
            "run_name: demo\ndata: {train_file: x, template: plain}\nmodel: {chat_template: qwen}",
            ["model.chat_template: qwen, but data.template=plain", "set template=chat"],
        ),
        (
            "run_name: demo\ndata: {train_file: x, template: plain}\n"
            "model: {enable_thinking: true}",
            ["model.enable_thinking: true, but data.template=plain", "or enable_thinking=false"],
        ),
        (
            GOOD + "eval: {generation_preset: sampled}",
            ["eval.generation_preset: 'sampled' is unknown", "did you mean sampling?"],
        ),
        (GOOD + "eval: {system_prompt: no/such.txt}", ["eval.system_prompt: no file no/such.txt"]),
        (GOOD + "eval: {num_few_shot: -1}", ["eval.num_few_shot", "-1"]),
        ("run_name: demo", ["data: missing"]),
        ("run_name: [", ["not YAML", "line 1"]),
        ("just text", ["holds no sections"]),
    ],
)
def test_a_fault_names_key_value_and_remedy(tmp_path: Path, text: str, words: list[str]) -> None:
    output = faults_of(tmp_path, text)
    assert all(word in output for word in words), output
    assert len(output.splitlines()) == 1


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    output = faults_of(
        tmp_path,
        "run_name: a b\ndata: {colums: {}}\ntrain: {learning_rate: 2, num_train_epochs: x}",
        ["lr=3", "--lora-r", "0"],
    )
    for word in (
        "run_name",
        "colums",
        "train_file",
        "learning_rate",
        "num_train_epochs",
        "lr:",
        "lora_r",
    ):
        assert word in output
    assert len(output.splitlines()) == 7


def test_missing_config_offers_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text(GOOD)
    with pytest.raises(UserError, match=r"did you mean .*quickstart\.yaml"):
        load_config(tmp_path / "quikstart.yaml")


def test_overrides_in_both_forms_and_synonyms(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(GOOD + "method: {lora_rank: 4}\n", encoding="utf-8")
    config, notes = load_config(
        path, ["learning_rate=3e-4", "--num-train-epochs", "7", "data.max_length=99"]
    )
    assert config.train.learning_rate == 3e-4
    assert (config.train.num_train_epochs, config.data.max_length) == (7, 99)
    assert config.method == LoraMethod(lora_r=4)
    assert notes == ["method.lora_rank is read as method.lora_r"]


def test_one_entry_of_a_mapping_is_set(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "run_name: demo\ndata: {train_file: x, task_options: {dialect: tsql}}", encoding="utf-8"
    )
    config, _ = load_config(
        path, ["data.task_options.database=a.sqlite", "--columns.text", "SQL", "num_workers=2"]
    )
    assert config.data.task_options == {"dialect": "tsql", "database": "a.sqlite"}
    assert config.data.columns == {"text": "SQL"}
    for key in ("task_option.database", "data.task_option.database"):
        assert "did you mean data.task_options.database?" in faults_of(tmp_path, GOOD, [f"{key}=a"])


@pytest.mark.parametrize("after", [["run_name=b"], []])
def test_a_config_is_given_without_a_key(tmp_path: Path, after: list[str]) -> None:
    assert "the file comes without one" in faults_of(tmp_path, GOOD, ["--config", *after])


def test_a_dumped_config_loads_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(GOOD, encoding="utf-8")
    config, _ = load_config(path, ["lora_r=3", "gguf_types=[f16]"])
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path)[0] == config


def test_a_method_is_chosen_by_its_type_and_lora_by_none(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(GOOD + "method: {lora_alpha: 5}\n", encoding="utf-8")
    assert load_config(path)[0].method == LoraMethod(lora_alpha=5)
    chosen = ["--method-type", "qlora", "lora_r=8", "bnb_4bit_use_double_quant=false"]
    want = QloraMethod(lora_alpha=5, lora_r=8, bnb_4bit_use_double_quant=False)
    assert load_config(path, chosen)[0].method == want
    assert load_config(path, ["method_type=dora"])[0].method == DoraMethod(lora_alpha=5)
    path.write_text(GOOD, encoding="utf-8")
    config, _ = load_config(path, ["method_type=full"])
    assert config.method == FullMethod()
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path)[0] == config
    output = faults_of(tmp_path, GOOD + "method: qlora", ["lora_r=3"])
    assert output.endswith("fields from") and len(output.splitlines()) == 1


def test_leaves_of_every_method_are_listed_once() -> None:
    names = [name for name, _ in leaves() if name.startswith("method.")]
    assert names == [
        f"method.{name}"
        for name in (
            *("method_type", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"),
            *("use_rslora", "bnb_4bit_use_double_quant"),
        )
    ]


def test_every_leaf_name_is_unique_and_described() -> None:
    names = [name.rsplit(".", 1)[-1] for name, _ in leaves()]
    assert len(names) == len(set(names))
    described = [field.description for name, field in leaves() if "." in name]
    assert all(described)


def test_zero_and_four_bit_weights_are_refused_together(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("run_name: x\ndata: {train_file: x.jsonl}\n")
    with pytest.raises(UserError) as caught:
        load_config(path, ["method_type=qlora", "zero_stage=2"])
    assert list(caught.value.faults) == [
        f"{path}: scaling.zero_stage: 2, but 4-bit weights cannot be sharded; "
        "set zero_stage=0, or method_type=lora"
    ]


def test_the_length_of_a_preset_counts_where_none_is_given(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for text, overrides, length in (
        ("", [], 256),
        ("eval: {generation_preset: impulse}", [], 512),
        ("eval: {generation_preset: impulse, max_new_tokens: 64}", [], 64),
        ("eval: {generation_preset: sampling}", [], 256),
        ("", ["generation_preset=questions"], 1024),
        ("", ["generation_preset=questions", "max_new_tokens=9"], 9),
    ):
        path.write_text(GOOD + text, encoding="utf-8")
        assert load_config(path, overrides)[0].eval.max_new_tokens == length, (text, overrides)


def test_a_system_prompt_is_kept_as_its_text(tmp_path: Path) -> None:
    """The config of a run holds it: a worker elsewhere has no such file, and a change is seen."""
    (tmp_path / "prompt.txt").write_text("Solo SQL.\n", encoding="utf-8")
    path = tmp_path / "c.yaml"
    path.write_text(f"{GOOD}eval: {{system_prompt: {tmp_path / 'prompt.txt'}}}", encoding="utf-8")
    config, _ = load_config(path)
    assert config.eval.system_prompt == "Solo SQL."
    (tmp_path / "prompt.txt").unlink()
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path)[0] == config
