"""Raw rows to a tuned, scored, exported model: `python -m jobs.finetune CONFIG.yaml [key=value]`.

The same command again resumes where the run was stopped, or reports that it is finished. The path:
main -> finetune -> trainers/driver.py fit -> trainers/loop.py run -> trainers/step/train_step.py.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path

from datasets_src.errors import UserError
from datasets_src.pipeline import Prepared
from datasets_src.prepared.fingerprint import part_digests
from datasets_src.prepared.store import open_split
from jobs.common.cli import config_parser, give_up, parse_config, run_verb
from jobs.common.preflight import check_metric, check_storage, check_zero
from jobs.common.ray_session import start_ray
from jobs.common.summary import gate_lines, summary_table
from jobs.prepare import prepare_rows, show_example
from trainers.config.schema import Config
from trainers.models.resolve import resolve_base
from trainers.process.signals import StopSignal
from trainers.run.records import run_facts
from trainers.run.scores import FEW_SHOT, find_score
from trainers.run.state import RunState, base_to_resume_with


def main(argv: list[str]) -> int:
    """Train, score at each save, choose the best checkpoint, export it, write the report."""
    parser = config_parser("finetune", "Fine-tune a language model from one YAML.", argv=argv)
    return finetune(parse_config(parser, argv))


def finetune(config: Config) -> int:
    """Run `config` from where it is to its end; exit code 0, or a UserError."""
    stop = StopSignal()
    stop.install()
    _check_hub(config)
    check_metric(config)
    check_zero(config)
    # A run that resumes has passed the checks of its base, and shown its rows, when it started.
    model_dir = base_to_resume_with(config)
    resumes = model_dir is not None
    if model_dir is None:
        model_dir = resolve_base(config)
        _check_base(config, model_dir)
    else:
        _start_ray_during_imports(stop)
    check_storage(config, model_dir)
    if not resumes and config.export.export_best and config.export.gguf_types:
        _try_export(config, model_dir)
    started = time.monotonic()
    prepared = prepare_rows(config, model_dir, shown=resumes)
    run = RunState.open(
        config,
        data_hash=prepared.data_hash,
        model_dir=model_dir,
        on_lost=stop.lose,
        data_parts=part_digests(config.data, model_dir=model_dir),
    )
    shutil.copyfile(prepared.directory / "data.json", run.run_dir / "data.json")
    try:
        with run:
            if run.record["status"] == "finished":
                print(f"{config.run_name} is finished; nothing to train")
            else:
                run.set_time("prepare", time.monotonic() - started)
                if not resumes:
                    show_example(config, prepared, model_dir)
                    _show_few_shot(config, run, prepared, model_dir)
                with _training(config, run, prepared, model_dir, stop):
                    from trainers.driver import fit

                    fit(config, location=run.location, prepared_dir=prepared.directory, stop=stop)
            rejected = _export(config, run, prepared, model_dir)
            run.finish(rejected)
    finally:  # a failed run gets a report too
        _report(run.run_dir)
        run.location.push()
    run.location.push_folder("export")
    if rejected is not None:
        raise rejected
    return 0


def _check_base(config: Config, model_dir: Path) -> None:
    """Refuse a base or a method that cannot be trained."""
    from trainers.methods.choose import method_module
    from trainers.models.base_checks import check_base

    check_base(config, model_dir)
    method_module(config.method).check(model_dir, config.method)


def _try_export(config: Config, model_dir: Path) -> None:
    """Refuse a base of which no GGUF file could be made, or none that is served as trained."""
    from trainers.export.trial import try_export

    try_export(config, model_dir)


@contextmanager
def _training(
    config: Config, run: RunState, prepared: Prepared, model_dir: Path, stop: StopSignal
) -> Iterator[None]:
    """Ray is started and its head node watched; times and sizes are recorded at the end."""
    from trainers.supervision.head_node import HeadNodeMonitor

    run.update(
        model_dir=str(model_dir),
        prepared_dir=str(prepared.directory),
        num_workers=config.scaling.num_workers,
    )
    start_ray()
    stop.install()  # ray.init has replaced our signal handlers
    try:
        with HeadNodeMonitor(partial(give_up, run)):
            yield
    finally:
        facts = run_facts(run.run_dir)
        run.set_time("train", facts.pop("train_s"))
        run.set_time("evaluate", facts.pop("evaluate_s"))
        run.update(**facts)


def _show_few_shot(config: Config, run: RunState, prepared: Prepared, model_dir: Path) -> None:
    """Print the examples of the few_shot baseline; a template that rejects them fails here."""
    from trainers.evaluation.few_shot import few_shot_of_run

    if find_score(run.run_dir, FEW_SHOT) is not None:
        return
    splits = [open_split(prepared.directory, name) for name in ("train", "validation")]
    if (few_shot := few_shot_of_run(config, model_dir, *splits)) is not None:
        print(f"few-shot  {few_shot.summary}")


def _start_ray_during_imports(stop: StopSignal) -> None:
    """Saves seconds of each resume: all that could prevent the start of Ray was checked before."""
    imports = threading.Thread(target=import_module, args=("trainers.driver",), daemon=True)
    imports.start()
    start_ray()
    stop.install()  # ray.init has replaced our signal handlers
    imports.join()


def _export(config: Config, run: RunState, prepared: Prepared, model_dir: Path) -> UserError | None:
    """Export the best checkpoint; the error if a file was rejected, which costs no other."""
    if not config.export.export_best:
        return None
    from trainers.export.export import export_best
    from trainers.export.gates import GateFailed

    started, rejected = time.monotonic(), None
    run.location.fetch_best()
    try:
        export_best(
            run.run_dir, config=config, model_dir=model_dir, prepared_dir=prepared.directory
        )
    except GateFailed as error:
        rejected = error
    if run.record["status"] != "finished":
        run.set_time("export", time.monotonic() - started)
    return rejected


def _report(run_dir: Path) -> None:
    from trainers.report.build import write_report

    print(f"\n{summary_table(run_dir)}\n", *gate_lines(run_dir), sep="\n")
    print(f"report    {write_report(run_dir)}")


def _check_hub(config: Config) -> None:
    if config.hub.push != "none":
        from trainers.export.parts import export_kinds
        from trainers.hub.client import Kind, check_hub

        exported = export_kinds(config) if config.export.export_best else export_kinds(config)[:1]
        saves: tuple[Kind, ...] = ("checkpoint",) if config.hub.push == "every_save" else ()
        check_hub(config.hub, kinds=(*saves, *exported))


if __name__ == "__main__":
    run_verb(main)
