"""The schema of a recipe YAML, the loader of its kind, and the recipe hash.

build_name: fauna_descriptions
kind: biosenda
options: {database: datasets_src/shipped/fauna/material/poblaciones.sql, …}
teacher: {gguf_file: pocket}
"""

import difflib
import hashlib
import importlib
import json
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import Field, ValidationError, model_validator

from datasets_src.config import Section
from datasets_src.config_errors import explain
from datasets_src.errors import UserError
from datasets_src.prepared.fingerprint import file_hash, option_files
from datasets_src.recipes.contract import Prompt
from datasets_src.recipes.dependence import DependenceLimits
from datasets_src.recipes.lengths import LengthConfig
from datasets_src.recipes.teacher.client import NOT_IN_ANSWERS, TeacherConfig
from datasets_src.recipes.teacher.prompts import Rules

PACKAGE = "datasets_src.recipes.kinds"
CONTRACT = (
    *("TASK", "OUTPUT", "DEPENDS_ON", "PLACEHOLDERS", "MUST_NAME", "LICENSE"),
    *("Options", "open_material", "items", "make"),
)
# Increment when code in this package changes the rows of an unchanged recipe.
CODE_VERSION = 1


class RecipeConfig(Section):
    """A recipe; its dataset is written to `<output_dir>/<build_name>`."""

    build_name: str = Field(pattern=r"^\w[\w.-]*$", description="name of the dataset's directory")
    kind: str = Field(description="module of datasets_src/recipes/kinds")
    output_dir: str = Field("datasets", min_length=1, description="directory of the built datasets")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the kind")
    teacher: TeacherConfig | None = Field(None, description="teacher model; null: none")
    num_threads: int = Field(16, ge=1, description="items processed in parallel")
    max_bad_items: float = Field(
        0.05, ge=0, lt=1, description="max share of faulty items; they are left out"
    )
    dependence: DependenceLimits = Field(default_factory=DependenceLimits)
    lengths: LengthConfig = Field(default_factory=LengthConfig)
    hub_dataset_id: str | None = Field(
        None, pattern=r"^[\w.-]+/[\w.-]+$", description="owner/name of the dataset repository"
    )
    hub_private_repo: bool = Field(True, description="create the repository as private")
    hub_token_path: str | None = Field(
        None, description="file with the Hub token; default: HF_TOKEN"
    )

    @model_validator(mode="after")
    def _push_and_token(self) -> "RecipeConfig":
        if self.hub_token_path is not None and self.hub_dataset_id is None:
            raise ValueError("hub_token_path is set but hub_dataset_id is not; set owner/name")
        return self


def known_kinds() -> list[str]:
    """Names of the modules in datasets_src/recipes/kinds."""
    package = importlib.import_module(PACKAGE)
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name[0] != "_")


def load_kind(name: str) -> ModuleType:
    """Import the module of a kind. UserError: unknown kind."""
    kinds = known_kinds()
    if name not in kinds:
        near = difflib.get_close_matches(name, kinds, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"kind: {name!r} is not a recipe kind; {hint}known: {', '.join(kinds)}")
    module = importlib.import_module(f"{PACKAGE}.{name}")
    missing = [part for part in CONTRACT if not hasattr(module, part)]
    assert not missing, f"{name} lacks {missing}"
    return module


def kind_options(kind: ModuleType, given: Mapping[str, Any]) -> Section:
    """Validate `options:` by the kind's own model. UserError: one line per fault."""
    names = list(kind.Options.model_fields)
    try:
        options: Section = kind.Options.model_validate(dict(given))
    except ValidationError as error:
        raise UserError(
            *explain(error, prefix="options.", unknown=lambda key: _unknown(key, names))
        ) from None
    return options


def _unknown(key: str, names: list[str]) -> str:
    near = difflib.get_close_matches(key.rsplit(".", 1)[-1], names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{key}: unknown option; {hint}known: {', '.join(names)}"


def prompts_of(kind: ModuleType, options: Section) -> tuple[dict[str, Rules], dict[str, Prompt]]:
    """The rules and prompts of the options, keyed by "options.<name>"."""
    prompts = {
        f"options.{name}": value
        for name, value in dict(options).items()
        if isinstance(value, Prompt)
    }
    rules = {
        key: Rules(kind.PLACEHOLDERS[name], tuple(kind.MUST_NAME.get(name, ())))
        for key in prompts
        for name in [key.removeprefix("options.")]
    }
    return rules, prompts


def recipe_hash(recipe: RecipeConfig, kind: ModuleType, options: Section, *, endpoint: str) -> str:
    """sha256 of everything that determines the rows: options, the files they name, teacher, code.

    `endpoint` is the teacher's address or the hash of its file. Rate limits, prices, the build's
    name, the output directory and the Hub settings are not part of the hash.
    """
    assert kind.__file__ is not None
    teacher = recipe.teacher and recipe.teacher.model_dump(mode="json", exclude=NOT_IN_ANSWERS)
    named = {str(path): file_hash(path) for path in option_files(dict(options))}
    parts = {
        "code": [CODE_VERSION, file_hash(Path(kind.__file__))],
        "kind": recipe.kind,
        "options": options.model_dump(mode="json"),
        "files": list(named.values()),
        "teacher": [endpoint, teacher],
        "lengths": recipe.lengths.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
