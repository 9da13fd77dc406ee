"""`jobs.evaluate` with a model: it replies as in the run, whatever file the model lies in."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from datasets_src.errors import UserError
from datasets_src.pipeline import prepare
from jobs.evaluate import main
from tests.trainers.export.tiny_export import build_base
from tests.trainers.small_run import config_for
from trainers.config.load import dump_config
from trainers.config.schema import Config
from trainers.loop import run
from trainers.methods.merge_adapter import merge_adapter
from trainers.run.scores import best_score
from trainers.storage.json_files import read_jsonl, write_text
from trainers.train_state import WorkerSpec


@dataclass(frozen=True)
class Made:
    """A finished run, its config as a file, and its best checkpoint merged into a model."""

    config: Config
    path: Path
    run_dir: Path
    merged: Path

    def replies(self, name: str) -> dict[str, str]:
        """What the run itself got, by row."""
        path = self.run_dir / f"predictions/{name}.jsonl"
        return {row["id"]: row["reply"] for row in read_jsonl(path)}


@pytest.fixture(scope="module")
def made(
    small_rows: Path,
    pocket: Path,
    ray_local: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Made:
    folder = tmp_path_factory.mktemp("evaluated")
    config = config_for(folder, small_rows)
    prepared = prepare(config.data, model_dir=pocket, output_dir=folder).directory
    run_dir = folder / config.run_name
    run(WorkerSpec(config, run_dir, prepared, "one", rank=0, world_size=1, num_threads=2))
    for path in (folder / "config.yaml", run_dir / "config.yaml"):
        write_text(path, dump_config(config))
    best = best_score(run_dir)
    assert best is not None
    [checkpoint] = (run_dir / "checkpoints").glob(f"{best.name}.*")
    merge_adapter(pocket, checkpoint, folder / "merged")
    return Made(config, folder / "config.yaml", run_dir, folder / "merged")


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def evaluate(
    made: Made, out: Path, *arguments: str, capsys: pytest.CaptureFixture[str]
) -> tuple[dict[str, str], dict[str, Any], str]:
    """Replies by row, the JSON that is printed last, and all that is printed."""
    named = [] if "--run" in arguments else ["--config", str(made.path)]
    capsys.readouterr()
    assert main([*named, "--out", str(out), *arguments]) == 0
    printed = capsys.readouterr().out
    [file] = [path for path in out.glob("*.jsonl") if ".scores." not in path.name]
    replies = {row["id"]: row["reply"] for row in read_jsonl(file)}
    return replies, json.loads(printed.splitlines()[-1]), printed


def test_the_untuned_base_replies_as_in_the_run(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replies, record, printed = evaluate(made, tmp_path, capsys=capsys)
    assert replies == made.replies("base")
    [base, few_shot, *_] = read_jsonl(made.run_dir / "scores.jsonl")
    assert record["n"] == base["n"] == 6 and record["metrics"] == base["metrics"]
    best = best_score(made.run_dir)
    assert best is not None
    assert "replies end with <|im_end|> (5); padding <pad> (3)" in printed
    assert "prompt    no training example" in printed
    for score in (base, few_shot):
        value = score["metrics"]["execution_accuracy"]
        assert f"  {score['name']:12} {value:.3f} [" in printed
    # Whether tuning is better: the paired test against the best checkpoint of the run.
    assert best.name in printed.splitlines()[-3] and "base" in printed.splitlines()[-3]
    assert (tmp_path / "base.yaml").is_file() and (tmp_path / "base.scores.jsonl").is_file()


def test_a_good_prompt_is_the_run_s_own_row_and_stands_against_its_best(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replies, _, printed = evaluate(made, tmp_path / "few", "--num-few-shot", "3", capsys=capsys)
    assert replies == made.replies("few_shot")
    assert (tmp_path / "few/base-3-shot.jsonl").is_file()
    assert "prompt    3 training examples (" in printed
    text = tmp_path / "prompt.txt"
    text.write_text("Eres experto en rutas. Responde solo con SQL.\n", encoding="utf-8")
    asked = ("--num-few-shot", "3", "--system-prompt", str(text))
    prompted, _, printed = evaluate(made, tmp_path / "prompted", *asked, capsys=capsys)
    assert prompted != replies
    assert "a system prompt of 45 characters" in printed
    kept = (tmp_path / "prompted/base-3-shot-prompted.yaml").read_text("utf-8")
    assert "Eres experto en rutas." in kept and "num_few_shot: 3" in kept


def test_a_checkpoint_its_run_and_the_merged_model_reply_as_in_the_run(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = best_score(made.run_dir)
    assert best is not None
    asked = {
        "checkpoint": ("--checkpoint", "step-000003"),
        "run": ("--run", str(made.run_dir)),
        "model": ("--model", str(made.merged)),
    }
    names = {"checkpoint": "step-000003", "run": best.name, "model": best.name}
    for kind, arguments in asked.items():
        replies, record, _ = evaluate(made, tmp_path / kind, *arguments, capsys=capsys)
        assert replies == made.replies(names[kind]), kind
        [score] = [s for s in read_jsonl(made.run_dir / "scores.jsonl") if s["name"] == names[kind]]
        assert record["metrics"] == score["metrics"], kind


def test_a_gguf_replies_as_the_model_it_was_made_from(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed")
    from trainers.export.gguf import convert

    gguf = tmp_path / "small-f16.gguf"
    convert(made.merged, gguf, outtype="f16", tokenizer_settings={"add_bos_token": False})
    replies, _, _ = evaluate(made, tmp_path / "out", "--gguf", str(gguf), capsys=capsys)
    best = best_score(made.run_dir)
    assert best is not None
    wanted = made.replies(best.name)
    # float16 weights may decide a near-tie otherwise.
    assert sum(replies[id] == reply for id, reply in wanted.items()) >= 5
    assert (tmp_path / "out/small-f16.jsonl").is_file()
    with pytest.raises(UserError, match="a GGUF file is answered greedily"):
        evaluate(made, tmp_path, "--gguf", str(gguf), "--preset", "doi", capsys=capsys)
    # Prompts that are tokenised for another base would be read as other words.
    other = build_base(tmp_path / "other")
    with pytest.raises(UserError, match=r"tokenises prompts differently from .*; set model_n"):
        named = f"model_name_or_path={other}"
        evaluate(made, tmp_path, "--gguf", str(gguf), named, capsys=capsys)


def test_sampled_replies_are_the_same_again_and_others_under_another_seed(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, _, printed = evaluate(made, tmp_path / "1", "--preset", "doi", capsys=capsys)
    assert "replies   sampling (temperature 0.7), at most 16 tokens" in printed
    assert (tmp_path / "1/base-doi.jsonl").is_file()
    again = evaluate(made, tmp_path / "2", "--preset", "doi", "eval_batch_size=1", capsys=capsys)[0]
    other = evaluate(made, tmp_path / "3", "--preset", "doi", "seed=7", capsys=capsys)[0]
    assert one == again != other
    assert one != made.replies("base")


def test_examples_that_do_not_fit_are_left_out_and_a_prompt_that_does_not_is_empty(
    made: Made, tmp_path: Path, pocket: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = shutil.copytree(pocket, tmp_path / "small")
    config = json.loads((small / "config.json").read_text("utf-8"))

    def limited(context: int, out: str) -> tuple[dict[str, str], dict[str, Any], str]:
        text = json.dumps(config | {"max_position_embeddings": context})
        (small / "config.json").write_text(text, encoding="utf-8")
        asked = (f"model_name_or_path={small}", "--num-few-shot", "3")
        return evaluate(made, tmp_path / out, *asked, capsys=capsys)

    _, _, printed = limited(config["max_position_embeddings"], "all")
    longest = int(printed.partition("prompts of up to ")[2].partition(" ")[0].replace(",", ""))
    _, _, printed = limited(longest + 15, "some")
    assert "prompt    2 training examples (" in printed
    assert f"more examples do not fit the context of {longest + 15:,} tokens" in printed
    replies, record, printed = limited(100, "none")
    assert "6 prompts do not fit the context and count as empty" in printed
    assert set(replies.values()) == {""} and record["n"] == 6


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--model", "pocket", "--gguf", "x.gguf"), "--model and --gguf: each names a model"),
        (("--model", "pocket", "--checkpoint", "step-000003"), "--model and --checkpoint: each"),
        (("--gguf", "absent.gguf"), "--gguf: no file absent.gguf; name the .gguf file"),
        (
            ("--checkpoint", "step-000004"),
            "checkpoint step-000004; it has: step-000003, step-000",
        ),
        (("--preset", "doy"), "eval.generation_preset: 'doy' is unknown; did you mean doi"),
        (("--system-prompt", "absent.txt"), "--system-prompt: no file absent.txt; name an"),
        (("--model", "absent/"), "'absent/' is neither a local directory nor a Hub id"),
        (("learning_rat=1",), "did you mean train.learning_rate"),
        (("num_few_shot=5",), "num_few_shot=5: is an argument here; write --num-few-shot 5"),
    ],
)
def test_what_cannot_be_evaluated_is_told(
    made: Made,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    says: str,
) -> None:
    with pytest.raises(UserError, match=says):
        evaluate(made, tmp_path, *arguments, capsys=capsys)
    assert not list(tmp_path.iterdir())


def test_a_file_of_replies_and_a_model_are_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--num-few-shot: has no effect with --predictions"):
        main(["--predictions", "x.jsonl", "--num-few-shot", "3"])
    with pytest.raises(UserError, match="seed=3: has no effect with --predictions"):
        main(["--predictions", "x.jsonl", "seed=3"])
    with pytest.raises(UserError, match="--config: missing"):
        main(["--model", "pocket"])
