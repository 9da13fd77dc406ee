"""What a run needs on its storage."""

from pathlib import Path

from jobs.common.preflight import needed_bytes
from trainers.config.schema import Config


def test_a_full_checkpoint_is_the_base_and_three_float32_copies(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100_000)
    needed = {}
    for name in ("lora", "full"):
        raw = {"run_name": "r", "data": {"train_file": "x"}, "method": {"method_type": name}}
        config = Config.model_validate(raw | {"export": {"export_best": False}})
        needed[name] = needed_bytes(config, tmp_path) - 64 * 2**20
    # Five checkpoints: three kept, the best, and one being written.
    assert needed == {"lora": 5 * 15_000, "full": 5 * 700_000}
