"""Qwen 3's own tokenizer and template: what is trained, read back as a reply, scores 1.000."""

import json
import shutil
from pathlib import Path

import pytest

from datasets_src.chat.base_template import describe_tokens, with_own_template
from datasets_src.chat.few_shot import Prompting, conversation
from datasets_src.chat.thinking import count_thinking
from datasets_src.chat.tokenise import auto_tokenizer, chat_tokens, open_tokenizer, read_format
from datasets_src.scoring.predictions import load_sides
from datasets_src.scoring.score import score_replies
from datasets_src.task import load_task
from jobs.common.shipped import ROOT, shipped_config
from tests.real.fetch import real_dir, real_file
from trainers.config.load import load_config

EMPTY = "<think>\n\n</think>\n\n"


@pytest.fixture
def qwen3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "qwen3"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(real_file(f"qwen3/{name}"), folder)
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    config["chat_template"] = real_file("templates/Qwen-Qwen3-0.6B.jinja").read_text("utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    monkeypatch.setenv("GALLIPATO_REAL", str(real_dir()))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(ROOT)
    return folder


@pytest.mark.parametrize("enable_thinking", [False, True])
@pytest.mark.parametrize("task_name", ["text2sql", "query_json"])
def test_reference_replies_score_1_as_trained(
    qwen3: Path, task_name: str, enable_thinking: bool
) -> None:
    path = shipped_config(task_name)
    assert path is not None
    task, config = load_task(task_name), load_config(path, [])[0]
    examples = load_sides(config.data).validation
    found = with_own_template(qwen3, enable_thinking=enable_thinking)
    fmt, tokenizer = read_format(found, "chat"), auto_tokenizer(found)
    talks = [conversation(task, example, Prompting()) for example in examples]
    rows = chat_tokens(fmt, open_tokenizer(fmt), talks, [example.target for example in examples])
    replies = []
    for row, talk in zip(rows, talks, strict=True):
        assert row.fault == "" and row.input_ids[-1] == fmt.stop_id == tokenizer.eos_token_id
        prompt = tokenizer.decode(row.input_ids[: row.prompt_len])
        turns = [dict(turn) for turn in talk]
        served = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        assert prompt == served and prompt.endswith(EMPTY) == (not enable_thinking)
        replies.append(str(tokenizer.decode(row.input_ids[row.prompt_len : -1])).strip())
    assert all(reply.startswith(EMPTY) == enable_thinking for reply in replies)
    scores = score_replies(task, examples, replies)
    assert [score[task.METRIC] for score in scores] == [1.0] * len(examples)
    thinking = count_thinking(replies)
    assert thinking.num_replies == (len(examples) if enable_thinking else 0)
    assert thinking.num_unclosed == 0


def test_the_model_line_prints_the_choice(qwen3: Path) -> None:
    off = describe_tokens(with_own_template(qwen3), "chat", family=None)
    assert off.endswith("system turn kept; thinking off")
    on = describe_tokens(with_own_template(qwen3, enable_thinking=True), "chat", family=None)
    assert on.endswith("system turn kept; thinking on")


def test_the_pinned_tokenizer_keeps_stop_padding_and_ids(qwen3: Path) -> None:
    before, after = auto_tokenizer(qwen3), auto_tokenizer(with_own_template(qwen3))
    assert after.eos_token == before.eos_token == "<|im_end|>"
    assert after.pad_token == before.pad_token == "<|endoftext|>"
    text = "<|im_start|>¿Cuántas rutas hay?\n\n<think> 12"
    assert after(text).input_ids == before(text).input_ids
