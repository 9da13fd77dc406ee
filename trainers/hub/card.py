"""The model card of a push: README.md with the Hub's YAML front matter, then the results.

    enqueue(run_dir, ..., card=card_text(run_dir, config=config, kind="adapter"))

    ---
    base_model: BSC-LT/salamandra-2b-instruct
    base_model_relation: adapter
    library_name: peft
    ...

It contains no times or dates: the same result gives the same bytes, so that repeating a run makes
no new commit.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from datasets_src.types import Score
from trainers.config.schema import Config
from trainers.hub.client import Kind, repo_id_for
from trainers.run.scores import BASELINE_TITLES, best_score, read_scores
from trainers.storage.json_files import read_json

# https://huggingface.co/docs/hub/model-cards#specifying-a-base-model knows adapter, finetune,
# quantized and merge; `merge` is for several models made one, not for an adapter folded in.
RELATIONS: dict[Kind, str] = {
    "adapter": "adapter",
    "checkpoint": "adapter",
    "merged": "finetune",
    "gguf": "quantized",
}
LIBRARIES: dict[Kind, str] = {
    "adapter": "peft",
    "checkpoint": "peft",
    "merged": "transformers",
    "gguf": "gguf",
}
WHAT: dict[Kind, str] = {
    "adapter": "{made}",
    "checkpoint": "{made}, one of the checkpoints of its run",
    "merged": "{made}{merged}",
    "gguf": "GGUF files, for llama.cpp, of {made}{merged}",
}
MADE = {
    "lora": "a LoRA adapter",
    "dora": "a DoRA adapter",
    "qlora": "a LoRA adapter trained on the base in 4 bits (QLoRA)",
    "full": "a model of which every weight was trained",
}
# qlora is merged into the original weights; the checkpoints' scores are of the 4-bit base.
MERGED = {"full": "", "qlora": " and merged into the original weights of its base model"}
TAGS = {"lora": ["lora"], "dora": ["lora", "dora"], "qlora": ["lora", "qlora"], "full": []}
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def card_text(run_dir: Path, *, config: Config, kind: Kind) -> str:
    """The card's text, without what the run has not recorded yet (scores, gates)."""
    assert config.hub.hub_model_id is not None or config.hub.push == "none"
    sections = [
        _front_matter(config, kind, data_hash=read_json(run_dir / "data.json").get("data_hash")),
        _opening(config, kind),
        _scores(run_dir),
        _data(read_json(run_dir / "data.json")),
        _training(config, read_json(run_dir / "run.json"), _pinned(run_dir)),
        _gates(read_json(run_dir / "artifact.json")) if kind in ("merged", "gguf") else "",
        _loading(config, kind, _pinned(run_dir)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def hub_base(config: Config) -> str | None:
    """The Hub id of the base; None for a local directory or a model that gallipato builds."""
    name = config.model.model_name_or_path
    return name if HUB_ID.fullmatch(name) and not Path(name).exists() else None


def _front_matter(config: Config, kind: Kind, *, data_hash: str | None) -> str:
    """The base of a GGUF is the merged repository; of the others the base model, if on the Hub."""
    base, whole = hub_base(config), _is_whole(config, kind)
    if kind == "gguf" and config.hub.hub_model_id is not None:
        base = repo_id_for(config.hub, "merged")
    meta: dict[str, Any] = {}
    if base is not None:
        meta |= {"base_model": base, "base_model_relation": RELATIONS["merged" if whole else kind]}
    meta |= {
        "library_name": LIBRARIES["merged" if whole else kind],
        "pipeline_tag": "text-generation",
        "license": config.hub.license,
        "tags": [*TAGS[config.method.method_type], "gallipato", config.data.task],
    }
    if data_hash is not None:
        meta["data_hash"] = data_hash
    return f"---\n{yaml.safe_dump(meta, sort_keys=False, allow_unicode=True)}---"


def _is_whole(config: Config, kind: Kind) -> bool:
    """Whether a push is a whole model: a checkpoint of full fine-tuning is one."""
    return kind == "checkpoint" and config.method.method_type == "full"


def _opening(config: Config, kind: Kind) -> str:
    revision = config.model.model_revision
    at = f" at revision `{revision}`" if revision else ""
    method = config.method.method_type
    merged = MERGED.get(method, " merged into its base model")
    what = WHAT[kind].format(made=MADE[method], merged=merged)
    return (
        f"# {_title(config, kind)}\n\n{what[0].upper()}{what[1:]}, tuned for the task"
        f" `{config.data.task}` from `{_base_name(config)}`{at} by gallipato."
    )


def _title(config: Config, kind: Kind) -> str:
    if config.hub.hub_model_id is None:
        return config.run_name
    return repo_id_for(config.hub, kind).split("/")[1]


def _base_name(config: Config) -> str:
    """The Hub id, or a directory's name without its path, which may be private."""
    return hub_base(config) or Path(config.model.model_name_or_path).name


def _scores(run_dir: Path) -> str:
    """One row per score, the chosen checkpoint marked; cells are mean [95 % interval]."""
    scores = read_scores(run_dir)
    if not scores:
        return ""
    chosen = read_json(run_dir / "artifact.json").get("checkpoint")
    best = best_score(run_dir)
    chosen = chosen or (best.name if best else None)
    names = sorted({name for score in scores for name in score.metrics})
    names.sort(key=lambda name: name != scores[0].metric)
    scores.sort(key=lambda score: (score.step is not None, score.step or 0))
    rows = [
        [
            BASELINE_TITLES.get(score.name, score.name)
            + (" **(chosen)**" if score.name == chosen else ""),
            str(score.n),
            *(_cell(score, name) for name in names),
        ]
        for score in scores
    ]
    text = f"Chosen by `{scores[0].metric}` on held-out groups; 95 % intervals in brackets."
    constant = next((s.constant_reply for s in scores if s.constant_reply is not None), None)
    if constant is not None:
        text += f" The best constant reply is `{' '.join(constant.split())[:80]}`."
    return f"## Scores\n\n{_table(['', 'n', *names], rows)}\n\n{text}"


def _cell(score: Score, name: str) -> str:
    if name not in score.metrics:
        return ""
    text = f"{score.metrics[name]:.3f}"
    if name in score.intervals:
        low, high = score.intervals[name]
        text += f" [{low:.3f}, {high:.3f}]"
    return text


def _data(data: dict[str, Any]) -> str:
    if not data:
        return ""
    rows = [
        [name, str(data["num_rows"][name]), str(data["num_groups"][name])]
        for name in data["num_rows"]
    ]
    dropped = sum(drop["num_rows"] for drop in data.get("dropped", []))
    return (
        f"## Data\n\nsha256 of the prepared rows: `{data['data_hash']}`\n\n"
        f"{_table(['split', 'rows', 'groups'], rows)}\n\n"
        f"{dropped} rows were dropped. No group lies on both sides of the split"
        + _straddling(data.get("straddling_groups", []))
        + _leaks(data)
    )


def _leaks(data: dict[str, Any]) -> str:
    num = {kind: found["num_rows"] for kind, found in data.get("leaks", {}).items()}
    if not any(num.values()):
        return ""
    return (
        f" {num['exact']} validation rows have the inputs of a training row, "
        f"{num['near']} have nearly those."
    )


def _straddling(groups: Sequence[Any]) -> str:
    names = ", ".join(str(group) for group in groups[:10])
    return f", except {len(groups)} of the split as given: {names}." if groups else "."


def _pinned(run_dir: Path) -> dict[str, Any]:
    """Arguments of the base's chat template with which the prompts were rendered."""
    pinned: dict[str, Any] = read_json(run_dir / "data.json").get("pinned", {})
    return pinned


def _training(config: Config, run: dict[str, Any], pinned: dict[str, Any]) -> str:
    settings: dict[str, Any] = {"template": config.data.template}
    settings |= {"chat_template": config.model.chat_template} if config.model.chat_template else {}
    settings |= {key: value for key, value in pinned.items() if key != "prompt_end"}
    settings |= {"max_length": config.data.max_length}
    settings |= config.method.model_dump(mode="json")
    settings |= config.train.model_dump(mode="json", exclude={"max_tokens_per_micro_batch"})
    rows = [[f"`{key}`", f"`{_plain(value)}`"] for key, value in settings.items()]
    versions = ", ".join(f"{name} {value}" for name, value in run.get("versions", {}).items())
    return (
        "## Training\n\n"
        + _table(["setting", "value"], rows)
        + (f"\n\nMade with {versions}." if versions else "")
    )


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _gates(artifact: dict[str, Any]) -> str:
    if not artifact.get("gates"):
        return ""
    rows = [
        [gate["name"], "passed" if gate["passed"] else "FAILED", gate["detail"]]
        for gate in artifact["gates"]
    ]
    head = f"Files of `{artifact['checkpoint']}`, checked against the model each was made from."
    return f"## Checks of the export\n\n{head}\n\n{_table(['check', '', 'detail'], rows)}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_escape(cell) for cell in line) + " |" for line in lines)


def _escape(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")


def _loading(config: Config, kind: Kind, pinned: dict[str, Any]) -> str:
    """Code to load the model; a base that is not on the Hub is left as a placeholder."""
    repo = repo_id_for(config.hub, kind) if config.hub.hub_model_id else "OWNER/NAME"
    base = hub_base(config) or "PATH_OF_THE_BASE_MODEL"
    if kind == "gguf":
        quant = config.export.gguf_types[-1].upper() if config.export.gguf_types else "F16"
        return f"## Use\n\n```bash\nllama-cli -hf {repo}:{quant}\n```"
    lines = ["from transformers import AutoModelForCausalLM, AutoTokenizer", ""]
    if kind == "merged" or _is_whole(config, kind):
        named = repo if kind == "merged" else base
        lines += [f'tokenizer = AutoTokenizer.from_pretrained("{named}")']
        lines += [f'model = AutoModelForCausalLM.from_pretrained("{repo}")']
    else:
        lines[:0] = ["from peft import PeftModel"]
        lines += [f'tokenizer = AutoTokenizer.from_pretrained("{base}")']
        lines += [f'model = AutoModelForCausalLM.from_pretrained("{base}")']
        lines += [f'model = PeftModel.from_pretrained(model, "{repo}")']
    if pinned and kind != "merged":
        lines += _prompt_lines(pinned)
    return "## Use\n\n```python\n" + "\n".join(lines) + "\n```"


def _prompt_lines(pinned: dict[str, Any]) -> list[str]:
    """Code that renders a prompt as in training; a merged model's own template does."""
    end = f" + {pinned['prompt_end']!r}" if "prompt_end" in pinned else ""
    named = {"tokenize": False, "add_generation_prompt": True} | pinned
    given = [f"{name}={value!r}" for name, value in named.items() if name != "prompt_end"]
    return [
        'messages = [{"role": "user", "content": "…"}]',
        f"prompt = tokenizer.apply_chat_template(messages, {', '.join(given)}){end}",
    ]
