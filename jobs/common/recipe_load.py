"""From a recipe's YAML and overrides to a checked RecipeConfig, or to every fault at once.

load_recipe(Path("jobs/recipes/fauna.yaml"), ["max_price=2", "--options.max-rows", "10"])

The end of a key's path is enough where only one key has it.
"""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from datasets_src.config_errors import explain
from datasets_src.errors import UserError
from datasets_src.recipes.config import RecipeConfig, load_kind
from trainers.config.load import leaves, override_pairs, read_yaml, set_key


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> RecipeConfig:
    """The recipe of `path`. UserError: one line for each fault of the file and the overrides."""
    raw = read_yaml(path)
    pairs = list(override_pairs(overrides))
    raw["kind"] = dict(pairs).get("kind", raw.get("kind"))
    known = dict(recipe_leaves(None if raw["kind"] is None else load_kind(str(raw["kind"]))))
    faults = []
    for key, text in pairs:
        name = key.replace("-", "_")
        found = [leaf for leaf in known if f".{leaf}".endswith(f".{name}")]
        exact = [leaf for leaf in found if leaf == name]
        if len(exact or found) == 1:
            set_key(raw, (exact or found)[0], yaml.safe_load(text))
        elif found:
            faults.append(f"{key}: is in several sections; write {' or '.join(found)}")
        else:
            faults.append(_unknown(key, list(known)))
    try:
        recipe = RecipeConfig.model_validate(raw)
    except ValidationError as error:
        invalid = explain(error, unknown=lambda key: _unknown(key, list(known)))
        raise UserError(*(f"{path}: {fault}" for fault in [*faults, *invalid])) from None
    if faults:
        raise UserError(*faults)
    return recipe


def recipe_leaves(kind: ModuleType | None) -> Iterator[tuple[str, FieldInfo]]:
    """Every key of a recipe, with the options of its kind."""
    for name, field in leaves(RecipeConfig):
        if name != "options" or kind is None:
            yield name, field
    if kind is not None:
        yield from leaves(kind.Options, "options.")


def _unknown(key: str, known: list[str]) -> str:
    names = {leaf.rsplit(".", 1)[-1]: leaf for leaf in known} | {leaf: leaf for leaf in known}
    near = difflib.get_close_matches(key.replace("-", "_"), list(names), n=1, cutoff=0.5)
    return f"{key}: unknown key" + (f"; did you mean {names[near[0]]}?" if near else "")


def kind_of(argv: Sequence[str]) -> ModuleType | None:
    """The kind of the recipe that a command line names, for its --help."""
    paths = [Path(text) for text in argv if text.endswith((".yaml", ".yml"))]
    try:
        return load_kind(str(read_yaml(paths[0]).get("kind"))) if paths else None
    except UserError:
        return None
