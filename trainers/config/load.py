"""From YAML and overrides to a Config, or to every fault at once. No torch, no Ray.

load_config(Path("jobs/configs/quickstart.yaml"), ["learning_rate=1e-4", "--lora-r", "8"])
"""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from datasets_src.config import Section
from datasets_src.config_errors import explain
from datasets_src.errors import UserError
from trainers.config.schema import Config, Method

# Other tools' names with exactly our meaning, understood with a note.
SYNONYMS = {
    "base_model": "model_name_or_path",
    "model_name": "model_name_or_path",
    "cutoff_len": "max_length",
    "sequence_len": "max_length",
    "max_seq_length": "max_length",
    "lora_rank": "lora_r",
    "lora_target": "lora_target_modules",
    "warmup_ratio": "warmup_steps",
    "lr_scheduler": "lr_scheduler_type",
    "num_epochs": "num_train_epochs",
    "val_size": "validation_size",
    "val_set_size": "validation_size",
}
# Names whose meaning differs or that are no keys, with what to write instead.
DIFFERENT = dict.fromkeys(
    (
        "per_device_train_batch_size",
        "micro_batch_size",
        "gradient_accumulation_steps",
        "batch_size",
    ),
    "train_batch_size is the number of examples of a step over all workers",
) | {"config": "the file comes without one: CONFIG.yaml, then the keys to change"}


def leaves(section: type[Section] = Config, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every leaf of a config as ("train.learning_rate", its field), in the order of the file."""
    for name, field in section.model_fields.items():
        union = get_origin(field.annotation) in (Union, UnionType)
        kinds = get_args(field.annotation) if union else (field.annotation,)
        sections = [k for k in kinds if isinstance(k, type) and issubclass(k, Section)]
        inner: dict[str, FieldInfo] = {} if sections else {f"{prefix}{name}": field}
        for kind in sections:
            for leaf, info in leaves(kind, f"{prefix}{name}."):
                inner[leaf] = _either(inner[leaf], info) if leaf in inner else info
        yield from inner.items()


def _either(first: FieldInfo, other: FieldInfo) -> FieldInfo:
    """The field of a leaf that the sections of a union share: the values of both."""
    if first.annotation == other.annotation:
        return first
    merged = copy(first)
    merged.annotation = first.annotation | other.annotation  # type: ignore[operator, assignment]
    return merged


MAPPINGS = frozenset(name for name, info in leaves() if get_origin(info.annotation) is dict)


def load_config(path: Path, overrides: Sequence[str] = ()) -> tuple[Config, list[str]]:
    """The config of `path` with `key=value` (or `--key value`) overrides, and notes to print.

    Raises:
        UserError: with one line for each fault of the file and of the overrides.
    """
    raw = read_yaml(path)
    notes, faults = rename_synonyms(raw), override(raw, override_pairs(overrides))
    return validate(raw, str(path), faults), notes


def override(raw: dict[str, Any], given: Iterable[tuple[str, str]]) -> list[str]:
    """Put values under the keys that the command line names into `raw`; faults of the keys."""
    faults: list[str] = []
    for key, text in given:
        target = find_leaf(key)
        if target is None:
            faults.append(unknown_key(key))
        else:
            set_key(raw, target, yaml.safe_load(text))
    return faults


def validate(raw: dict[str, Any], where: str, faults: Sequence[str] = ()) -> Config:
    """The config of `raw`; its faults, with `where` before each, join `faults` in a UserError."""
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        method = raw.get("method")
        kind = method.get("method_type", "lora") if isinstance(method, dict) else "lora"
        unknown = partial(unknown_key, method_type=kind)
        faults = [*faults, *explain(error, unknown=unknown, tagged="method")]
        raise UserError(*(f"{where}: {fault}" for fault in faults)) from None
    if faults:
        raise UserError(*faults)
    return config


def dump_config(config: Config) -> str:
    """The resolved config as YAML, every key written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def unknown_key(key: str, *, method_type: str = "lora") -> str:
    """What is wrong with a key that is not known, and which is meant."""
    leaf = key.rsplit(".", 1)[-1].replace("-", "_")
    if key == "sweep":
        return "sweep: is read by python -m jobs.sweep; run that, or leave it out"
    if leaf in DIFFERENT:
        return f"{key}: unknown key; {DIFFERENT[leaf]}"
    if key == f"method.{leaf}" and (others := _methods_with(leaf)):
        return (
            f"{key}: method_type={method_type} has no {leaf}; leave it out, or set method_type="
            f"{' or '.join(others)}"
        )
    if (right := find_leaf(leaf)) is not None:
        return f"{key}: unknown key here; it is {right}"
    names = {name.rsplit(".", 1)[-1]: name for name, _ in leaves()}
    mappings = {end: name for end, name in names.items() if name in MAPPINGS}
    parent = key.rpartition(".")[0].rpartition(".")[2]
    if meant := difflib.get_close_matches(parent, list(mappings), n=1, cutoff=0.8):
        return f"{key}: unknown key; did you mean {mappings[meant[0]]}.{leaf}?"
    names |= {name: name for name in Config.model_fields}
    near = difflib.get_close_matches(leaf, list(names), n=1, cutoff=0.5)
    return f"{key}: unknown key" + (f"; did you mean {names[near[0]]}?" if near else "")


def _methods_with(leaf: str) -> list[str]:
    kinds: tuple[type[Section], ...] = get_args(Method)
    return [k.model_fields["method_type"].default for k in kinds if leaf in k.model_fields]


def find_leaf(key: str) -> str | None:
    """ "train.learning_rate" for that, "learning_rate", "learning-rate" or another tool's name.

    One entry of a mapping is a leaf too: "data.task_options.dialect".
    """
    mapping, dot, entry = key.rpartition(".")
    if dot and (parent := find_leaf(mapping)) in MAPPINGS:
        return f"{parent}.{entry}"
    key = key.replace("-", "_")
    key = SYNONYMS.get(key, key)
    for name, _ in leaves():
        if key in (name, name.rsplit(".", 1)[-1]):
            return name
    return None


def set_key(raw: dict[str, Any], dotted: str, value: Any) -> None:
    """Set "section.leaf", making the section where it is not there."""
    *sections, leaf = dotted.split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
        if not isinstance(raw, dict):  # a fault that the validation tells
            return
    raw[leaf] = value


def override_pairs(overrides: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(key, text of the value) of `key=value`, `--key value` and `--key=value`."""
    rest = iter(overrides)
    for item in rest:
        key, equals, value = item.partition("=")
        if item.startswith("--"):
            key = key[2:]
            following = None if equals else next(rest, None)
            if not equals and following is None:
                remedy = DIFFERENT.get(key, f"write {item} VALUE")
                raise UserError(f"{item}: a value is missing; {remedy}")
            value = value if equals else str(following)
        elif not equals:
            raise UserError(f"{item!r} is not a valid override; write key=value or --key value")
        yield key, value


def rename_synonyms(raw: dict[str, Any]) -> list[str]:
    """Replace other tools' names in the sections of `raw`; a note for each."""
    notes = []
    for name, section in list(raw.items()):
        if isinstance(section, dict):
            for key in [k for k in section if k in SYNONYMS]:
                section[SYNONYMS[key]] = section.pop(key)
                notes.append(f"{name}.{key} is read as {name}.{SYNONYMS[key]}")
    return notes


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. UserError: there is none."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*")], n=1)
        hint = f"; did you mean {path.parent / near[0]}?" if near else ""
        raise UserError(f"{path}: no such config{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        text = " ".join(str(error).split())
        raise UserError(f"{path}: not YAML ({text})") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: holds no sections; see jobs/configs/quickstart.yaml")
    return raw
