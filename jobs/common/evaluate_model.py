"""The half of jobs.evaluate that has a model: it answers the validation rows of a config.

python -m jobs.evaluate --config CONFIG.yaml [key=value ...]         its untuned base
    --num-few-shot 5 --system-prompt prompt.txt                     ... asked by a good prompt
    --run RUN_DIR | --checkpoint step-000140 | --model DIR_OR_ID | --gguf FILE.gguf

The replies go to <out>/<name>.jsonl and are scored like any others. The scores of the config's own
run are printed with them, to answer whether tuning beats a good prompt.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from datasets_src.chat.families import PRESETS
from datasets_src.chat.few_shot import Prompting, pick_shots, read_system_prompt
from datasets_src.errors import UserError
from datasets_src.scoring.predictions import load_sides
from datasets_src.types import Example, Score
from trainers.config.load import dump_config, load_config, override_pairs
from trainers.config.schema import Config
from trainers.run.location import RunLocation, output_directory
from trainers.run.scores import BASE, best_score, read_scores
from trainers.storage.json_files import read_jsonl, write_jsonl, write_text

if TYPE_CHECKING:  # torch takes seconds to import; a fault in an argument needs none of it
    from trainers.evaluation.few_shot import PromptBuilder
    from trainers.generation.replies import Reply


@dataclass(frozen=True)
class Subject:
    """Who answers: the config that it is loaded by, and its checkpoint or GGUF file if it is one.

    `run_dir` is the directory of the config's run, if it was started.
    """

    name: str
    config: Config
    run_dir: Path
    checkpoint: Path | None = None
    gguf: Path | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of an evaluation with a model."""
    group = parser.add_argument_group("with a model", "on the validation rows of --config")
    group.add_argument("--run", type=Path, metavar="RUN_DIR", help="the best checkpoint of a run")
    group.add_argument("--checkpoint", metavar="NAME", help="of --run, or of the config's run")
    group.add_argument("--model", metavar="DIR_OR_ID", help="any model, as it is")
    group.add_argument("--gguf", type=Path, metavar="FILE", help="in llama.cpp, greedily")
    group.add_argument("--num-few-shot", type=int, default=0, metavar="N", help="solved examples")
    group.add_argument("--system-prompt", metavar="FILE_OR_TEXT", help="instead of the task's")
    group.add_argument("--preset", metavar="NAME", help=f"one of {', '.join(PRESETS)}")
    group.add_argument("--out", type=Path, metavar="DIR", help="where the replies go")


def model_arguments(args: argparse.Namespace) -> list[str]:
    """Those arguments of an evaluation with a model that are given."""
    names = ("run", "checkpoint", "model", "gguf", "num_few_shot", "system_prompt", "preset", "out")
    return [f"--{name.replace('_', '-')}" for name in names if getattr(args, name)]


def with_replies(args: argparse.Namespace, overrides: Sequence[str]) -> argparse.Namespace:
    """Answer the validation rows; the arguments that score the replies as any others are.

    The config as it was used is written next to the replies.
    """
    subject = find_subject(args, overrides)
    config = subject.config
    held = load_sides(config.data)
    train, rows = held.train, held.validation
    from datasets_src.chat.base_template import describe_tokens
    from trainers.evaluation.few_shot import open_prompt_builder
    from trainers.models.resolve import resolve_base

    model_dir = resolve_base(config)
    print(describe_tokens(model_dir, config.data.template, family=config.model.chat_template))
    builder = open_prompt_builder(config, model_dir)
    prompting = _prompting(config, builder, train, rows)
    prompts = builder.prompts(rows, prompting)
    preset = PRESETS[config.eval.generation_preset]
    print(f"replies   {preset}, at most {config.eval.max_new_tokens} tokens")
    replies = _answer(subject, model_dir, rows, prompts, room=builder.room)
    folder = args.out or output_directory(config) / "evaluated" / subject.run_dir.name
    path = folder / f"{_file_name(subject, prompting)}.jsonl"
    write_jsonl(path, [_row(e, reply) for e, reply in zip(rows, replies, strict=True)])
    write_text(path.with_suffix(".yaml"), dump_config(config))
    print(f"replies   {path}")
    print(*run_lines(subject), sep="\n")
    given = {"predictions": path, "config": path.with_suffix(".yaml")}
    # A run has no reply to a row that was too long for it.
    given |= {"against": args.against or _best_replies(subject), "missing": args.missing or "skip"}
    return argparse.Namespace(**{**vars(args), **given})


def _best_replies(subject: Subject) -> Path | None:
    """What the best checkpoint of the same config's run replied."""
    best = best_score(subject.run_dir)
    if best is None or best.name == subject.name:
        return None
    path = subject.run_dir / best.predictions
    return path if path.is_file() else None


def find_subject(args: argparse.Namespace, overrides: Sequence[str]) -> Subject:
    """Who is meant by the arguments.

    Raises:
        UserError: arguments that exclude each other, or what is not there.
    """
    named = [f"--{n}" for n in ("run", "model", "gguf") if getattr(args, n) is not None]
    if len(named) > 1 or (args.checkpoint and {*named} & {"--model", "--gguf"}):
        both = " and ".join([*named, *(["--checkpoint"] if args.checkpoint else [])])
        raise UserError(f"{both}: each names a model; leave all but one out")
    if args.config is None and args.run is None:
        raise UserError("--config: missing; give --config CONFIG.yaml, or --predictions FILE.jsonl")
    config = _config(args, overrides)
    if args.model is not None:
        return _any_model(args.model, config)
    home = RunLocation(config)
    if args.gguf is not None:
        if not args.gguf.is_file():
            raise UserError(f"--gguf: no file {args.gguf}; name the .gguf file")
        return Subject(args.gguf.stem, config, home.run_dir, gguf=args.gguf)
    if args.run is None and args.checkpoint is None:
        return Subject(BASE, config, home.run_dir)
    if args.run is None:
        home.refresh()
        for row in read_jsonl(home.run_dir / "checkpoints.jsonl"):
            if f"step-{row['step']:06d}" == args.checkpoint:
                home.fetch(row["path"])
        return _of_run(home.run_dir, args.checkpoint, config)
    return _of_run(args.run.absolute(), args.checkpoint, _as_trained(args.run, config))


def _config(args: argparse.Namespace, overrides: Sequence[str]) -> Config:
    """The config of the rows, with what the arguments say of how they are asked."""
    for key, text in override_pairs(overrides):
        flag = key.replace("_", "-").rsplit(".", 1)[-1]
        if flag in ("num-few-shot", "system-prompt"):
            raise UserError(f"{key}={text}: is an argument here; write --{flag} {text}")
    preset = [] if args.preset is None else [f"generation_preset={args.preset}"]
    config, notes = load_config(args.config or args.run / "config.yaml", [*overrides, *preset])
    print(*(f"note: {note}" for note in notes), sep="\n", end="\n" if notes else "")
    asked = {"num_few_shot": args.num_few_shot, "system_prompt": _system_prompt(args.system_prompt)}
    return config.model_copy(update={"eval": config.eval.model_copy(update=asked)})


def _any_model(name: str, config: Config) -> Subject:
    """A model in place of the config's base; the config's chat template is for one without."""
    from datasets_src.chat.tokenise import auto_tokenizer
    from trainers.models.resolve import resolve_model

    has_own = bool(auto_tokenizer(resolve_model(name)).chat_template)
    model = config.model.model_copy(
        update={
            "model_name_or_path": name,
            "model_revision": None,
            "chat_template": None if has_own else config.model.chat_template,
        }
    )
    run_dir = RunLocation(config).run_dir
    return Subject(Path(name).name, config.model_copy(update={"model": model}), run_dir)


def _as_trained(run: Path, config: Config) -> Config:
    """The rows of `config` for a model of another: loaded and asked as it was trained."""
    trained = load_config(run / "config.yaml")[0]
    data = config.data.model_copy(update={"template": trained.data.template})
    return config.model_copy(
        update={"model": trained.model, "method": trained.method, "data": data}
    )


def _of_run(run_dir: Path, name: str | None, config: Config) -> Subject:
    from trainers.generation.offline import find_checkpoint

    if name is None:
        best = best_score(run_dir)
        if best is None:
            raise UserError(f"--run: {run_dir} has no scored checkpoint; name one by --checkpoint")
        name = best.name
    return Subject(name, config, run_dir, checkpoint=find_checkpoint(run_dir, name))


def _prompting(
    config: Config, builder: "PromptBuilder", train: Sequence[Example], rows: Sequence[Example]
) -> Prompting:
    """As the run's own few-shot row is asked, where that has as many examples."""
    num = config.eval.num_few_shot
    shots = pick_shots(
        [example.id for example in train],
        [example.group for example in train],
        num=num,
        seed=config.train.seed,
        avoid={example.group for example in rows},
        is_usable=lambda i: builder.is_trained_on(train[i], max_length=config.data.max_length),
    )
    wanted = Prompting(tuple(train[i] for i in shots), config.eval.system_prompt)
    lengths = list(map(len, builder.prompts(rows, Prompting())))
    longest = rows[max(range(len(rows)), key=lambda i: (lengths[i] <= builder.room, lengths[i]))]
    found = builder.fit(wanted, longest)
    print(f"prompt    {builder.summary(found, wanted, num=num, longest=longest)}")
    return found


def _system_prompt(given: str | None) -> str | None:
    try:
        return None if given is None else read_system_prompt(given)
    except ValueError as error:
        raise UserError(f"--system-prompt: {error}") from None


def _answer(
    subject: Subject,
    model_dir: Path,
    rows: Sequence[Example],
    prompts: Sequence[Sequence[int]],
    *,
    room: int,
) -> list["Reply"]:
    """One reply a row; a prompt that leaves no room for one is not asked."""
    from trainers.export.gguf_replies import answer_with_gguf
    from trainers.generation.offline import answer_with_model
    from trainers.generation.replies import Reply

    asked = [i for i, prompt in enumerate(prompts) if len(prompt) <= room]
    if left := [rows[i].id for i in range(len(rows)) if i not in set(asked)]:
        print(f"replies   {len(left)} prompts do not fit the context and count as empty: {left}")
    some, config = [prompts[i] for i in asked], subject.config
    with tqdm(total=len(some), unit="row", disable=not sys.stderr.isatty()) as bar:
        if subject.gguf is not None:
            got = answer_with_gguf(subject.gguf, config, model_dir, some, on_batch=bar.update)
        else:
            ids = [rows[i].id for i in asked]
            got = answer_with_model(
                config, model_dir, subject.checkpoint, some, row_ids=ids, on_batch=bar.update
            )
    of_row = dict(zip(asked, got, strict=True))
    return [of_row.get(i, Reply("", (), stopped=False)) for i in range(len(rows))]


def _row(example: Example, reply: "Reply") -> dict[str, Any]:
    facts = {"num_tokens": len(reply.ids), "stopped": reply.stopped}
    return {"id": example.id, "reply": reply.text, **facts}


def _file_name(subject: Subject, prompting: Prompting) -> str:
    preset = subject.config.eval.generation_preset
    parts = [
        subject.name,
        f"{len(prompting.shots)}-shot" if prompting.shots else "",
        "prompted" if prompting.system_prompt is not None else "",
        preset if preset != "greedy" else "",
    ]
    return "-".join(part for part in parts if part)


def run_lines(subject: Subject) -> list[str]:
    """What the run of the same config got."""
    scores, best = read_scores(subject.run_dir), best_score(subject.run_dir)
    if best is None:
        return []
    shown = [*(score for score in scores if score.step is None), best]
    lines = [f"  {score.name:12} {_value(score, best.metric)}" for score in shown]
    return [f"the run {subject.run_dir} got ({best.metric}):", *lines]


def _value(score: Score, metric: str) -> str:
    low, high = score.intervals[metric]
    return f"{score.metrics[metric]:.3f} [{low:.3f}, {high:.3f}] of {score.n} rows"
