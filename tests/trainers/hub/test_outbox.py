"""Pushes over real HTTP with the real client arrive complete and once."""

import os
import subprocess
import sys
from pathlib import Path

from huggingface_hub import HfApi

from tests.outbox_tools import (
    COMMIT_MAIN,
    COMMIT_STAGING,
    FAST,
    HUB,
    make_folder,
    paths_of,
    push,
    put,
)
from tests.servers.hub_routes import Hub
from tests.servers.hub_server import HubServer
from trainers.hub.outbox import drain, enqueue, items

ROOT = Path(__file__).resolve().parents[3]


def test_a_push_arrives_byte_for_byte(hub: HubServer, run_dir: Path, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "out", num_shards=2)
    (folder / "sub").mkdir()
    (folder / "sub" / "note.txt").write_text("ñ")
    (folder / ".hidden").write_text("no")
    put(run_dir, folder)
    result = push(run_dir)
    assert result.state == "pushed"
    assert result.commit == hub.store.history("tester/demo")[0]["id"]
    api = HfApi(endpoint=hub.endpoint, token="hf_write")
    names = [
        "README.md",
        "config.json",
        "model-0-of-2.safetensors",
        "model-1-of-2.safetensors",
        "sub/note.txt",
    ]
    assert paths_of(hub) == set(names)
    for name in names:
        got = api.hf_hub_download("tester/demo", name, cache_dir=tmp_path / "cache")
        assert Path(got).read_bytes() == (folder / name).read_bytes()
    assert hub.store.repos["tester/demo"]["private"] is True
    assert set(hub.store.repos["tester/demo"]["refs"]) == {"main"}
    (item,) = items(run_dir)
    assert (item.state, item.tries, item.commit) == ("done", 1, result.commit)
    assert not (run_dir / item.folder).exists()


def test_bytes_are_sent_once_though_two_commits_are_made(
    hub: HubServer, run_dir: Path, tmp_path: Path
) -> None:
    put(run_dir, make_folder(tmp_path / "out", num_shards=3))
    push(run_dir)
    assert hub.count(r"PUT /_lfs/") == 3
    assert (hub.count(COMMIT_STAGING), hub.count(COMMIT_MAIN)) == (1, 1)


def test_the_same_folder_again_is_the_same_item_and_sends_nothing(
    hub: HubServer, run_dir: Path, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "out")
    first = put(run_dir, folder)
    assert put(run_dir, folder) == first
    push(run_dir)
    before = len(hub.log)
    assert put(run_dir, folder) == first
    assert drain(run_dir, hub=HUB) == []
    assert len(hub.log) == before


def test_a_hub_that_has_it_already_gets_no_commit(
    hub: HubServer, run_dir: Path, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "out")
    put(run_dir, folder)
    push(run_dir)
    other = tmp_path / "runs" / "other"
    put(other, folder)
    assert push(other).state == "unchanged"
    assert len(hub.store.history("tester/demo")) == 2


def test_going_back_to_older_content_is_a_new_push(
    hub: HubServer, run_dir: Path, tmp_path: Path
) -> None:
    old = make_folder(tmp_path / "old", fill=b"a")
    new = make_folder(tmp_path / "new", fill=b"b")
    for folder in (old, new, old):
        put(run_dir, folder)
        assert push(run_dir).state == "pushed"
    assert [item.number for item in items(run_dir)] == [1, 2, 3]
    assert len(hub.store.history("tester/demo")) == 4


def test_main_only_ever_holds_one_whole_version(
    hub: HubServer, run_dir: Path, tmp_path: Path
) -> None:
    versions = [{f"model-{i}-of-{n}.safetensors" for i in range(n)} for n in (3, 2)]
    for version in versions:
        put(run_dir, make_folder(tmp_path / f"v{len(version)}", num_shards=len(version)))
        push(run_dir)
    seen = [set(c["tree"]) - {".gitattributes"} for c in hub.store.history("tester/demo")]
    rest = {"README.md", "config.json"}
    assert seen == [versions[1] | rest, versions[0] | rest, set()]


def test_only_the_newest_item_of_a_branch_is_pushed(
    hub: HubServer, run_dir: Path, tmp_path: Path
) -> None:
    put(run_dir, make_folder(tmp_path / "old", fill=b"a"))
    hub.fail(COMMIT_STAGING, status=403)
    assert push(run_dir).state == "failed"
    put(run_dir, make_folder(tmp_path / "new", fill=b"b"))
    states = [result.state for result in drain(run_dir, hub=HUB, retry=FAST)]
    assert states == ["superseded", "pushed"]
    assert drain(run_dir, hub=HUB) == []
    tree = hub.store.history("tester/demo")[0]["tree"]
    data = (hub.store.objects / tree["config.json"]["sha256"]).read_bytes()
    assert data == b'{"a": "b"}'
    assert len(hub.store.history("tester/demo")) == 2


def test_a_pruned_checkpoint_is_still_pushed_to_its_own_branch(
    hub: HubServer, run_dir: Path, tmp_path: Path
) -> None:
    put(run_dir, make_folder(tmp_path / "best", num_shards=2))
    push(run_dir)
    folder = make_folder(tmp_path / "step")
    (folder / "optimizer.safetensors").write_bytes(b"state")
    enqueue(
        run_dir,
        kind="checkpoint",
        folder=folder,
        files=["model-0-of-1.safetensors"],
        card="---\nlicense: other\n---\n# Step\n",
        repo_id="tester/demo",
        branch="step-000140",
        message="step-000140",
    )
    for path in folder.iterdir():
        path.unlink()
    assert push(run_dir).state == "pushed"
    assert paths_of(hub, "step-000140") == {"README.md", "model-0-of-1.safetensors"}
    assert len(hub.store.history("tester/demo", "step-000140")) == 2
    assert len(paths_of(hub)) == 4


def test_a_file_changed_after_enqueue_is_refused(
    hub: HubServer, run_dir: Path, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "out")
    put(run_dir, folder)
    with (folder / "config.json").open("r+") as file:
        file.write("X")
    result = push(run_dir)
    assert "config.json changed since" in str(result.error)
    assert paths_of(hub) == set()


def test_a_tree_of_many_pages_is_verified(hub: HubServer, run_dir: Path, tmp_path: Path) -> None:
    hub.hub = Hub(hub.store, hub.endpoint, 2)
    put(run_dir, make_folder(tmp_path / "out", num_shards=5))
    assert push(run_dir).state == "pushed"
    assert hub.count(COMMIT_MAIN) == 1


def test_xet_is_not_used_even_when_the_client_was_imported_first(
    hub: HubServer, run_dir: Path, tmp_path: Path
) -> None:
    put(run_dir, make_folder(tmp_path / "out"))
    code = (
        "import huggingface_hub, huggingface_hub.constants as c, sys;"
        "from pathlib import Path; from jobs.publish import main;"
        "assert not c.HF_HUB_DISABLE_XET;"
        f"sys.exit(main([{str(run_dir)!r}]))"
    )
    env = {key: value for key, value in os.environ.items() if key != "HF_HUB_DISABLE_XET"}
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=600
    )
    assert out.returncode == 0, out.stderr
    assert hub.count(r"PUT /_lfs/") == 1
