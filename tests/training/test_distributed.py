"""Two processes (gloo, between processors) against one."""

import json
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from small import losses as epoch_losses
from together import FLOAT32, LABELLED, RECIPES, losses

import skipway
from skipway import bundle, hardware
from skipway.training import distributed, lost_processes
from skipway.training.distributed import SINGLE_PROCESS, free_port, local_device, sub_store
from skipway.training.lost_processes import TIMEOUT_VARIABLE, group_timeout, name_lost_processes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left: see together.py."""
    folder, script = tmp_path_factory.mktemp("together"), Path(__file__).parent.parent / "together.py"
    both = os.environ | {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    both |= {"MASTER_PORT": str(free_port())}
    command = [sys.executable, "-W", "error::FutureWarning", str(script), str(folder)]
    started = [
        subprocess.Popen(command, env=both | {"RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in ("0", "1")
    ]
    said = [process.communicate(timeout=200)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said[0][-3000:]
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "found.json").read_text())


def last(run: Path) -> dict[str, Any]:
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_have_the_loss_of_one_at_every_step(
    name: str, found: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    """Rounding differs, because sums are taken in another order, and training amplifies it; by no more than this."""
    alone = losses(RECIPES[name], tmp_path / "run", SINGLE_PROCESS)
    off = [abs(a - b) / abs(a) for a, b in zip(alone, found[name], strict=True)]
    assert len(off) >= 10
    assert max(off[:10]) < 1e-5
    assert max(off) < 1e-3
    assert epoch_losses(folder / name) == pytest.approx(epoch_losses(tmp_path / "run"), rel=1e-3)
    counts = [bundle.read_card(run).data["counts"] for run in (folder / name, tmp_path / "run")]
    assert counts[0] == counts[1]
    if name == "generated":
        one, other = (last(run)["val_velocity_loss"] for run in (folder / name, tmp_path / "run"))
        assert one == pytest.approx(other, rel=1e-4)
        return
    for run in (folder / name, tmp_path / "run"):
        right = last(run)["val_top1"] * counts[0]["val"]
        assert right == pytest.approx(round(right), abs=1e-4), "each image of val is counted once"


def test_two_processes_evaluate_each_label_map_once(folder: Path) -> None:
    """The figures of the trained network are those that one process finds."""
    evaluation = skipway.evaluate(folder / "segmenter", LABELLED, split="val", hardware=FLOAT32)
    assert evaluation.metrics["n"] == 7
    assert last(folder / "segmenter")["val_miou"] == pytest.approx(evaluation.metrics["miou"], abs=1e-9)


def test_batch_norm_over_two_processes_is_batch_norm_over_all_images(found: dict[str, Any]) -> None:
    assert max(found["norm"]) < 2e-5


def test_gradients_are_exchanged_once_a_step_however_many_parts_it_has(found: dict[str, Any]) -> None:
    assert found["exchanges"] == 10


def test_one_process_agrees_with_itself() -> None:
    assert SINGLE_PROCESS.any_rank(True, False) == [True, False]
    assert SINGLE_PROCESS.mean([1.0, 2.0]) == [1.0, 2.0]
    assert SINGLE_PROCESS.broadcast("x") == "x"


def test_processors_need_no_device_of_their_own() -> None:
    settings = hardware.decide("cpu")
    assert local_device(settings, 3) is settings


def test_processes_started_again_on_the_same_store_never_meet_what_is_gone() -> None:
    """They begin in any order, and find what three earlier starts have left, and one that was killed early."""
    store, chance, parts = dist.HashStore(), random.Random(0), []
    for _ in range(3):
        with ThreadPoolExecutor(3) as threads:

            def start(rank: int, late: float) -> str:
                time.sleep(late)
                part = sub_store(store, rank, 3)
                part.set(f"from {rank}", "here")
                return "".join(part.get(f"from {other}").decode() for other in range(3))

            lateness = [chance.uniform(0, 0.2) for _ in range(3)]
            assert list(threads.map(start, range(3), lateness)) == ["hereherehere"] * 3
        store.set("skipway/1/token", "of one that is gone")
        parts.append(store.get("skipway/1/confirmed"))
    assert len(set(parts)) == 3


def test_starts_are_counted_where_torchrun_counts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that joins restarts all, and one that comes back has its own count: both are 0 in the environment."""
    store = dist.TCPStore("127.0.0.1", free_port(), is_master=True)
    monkeypatch.setattr(distributed, "rendezvous", lambda _: iter([(store, 0, 1)]))
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_RESTART_COUNT": "0"}.items():
        monkeypatch.setenv(name, value)
    found = []
    for _ in range(3):
        with distributed.init_distributed(hardware.decide("cpu")) as (group, _):
            found.append(group.restarts)
    assert found == [0, 1, 2]


def test_a_process_that_never_begins_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "START_TIMEOUT", 0.1)
    with pytest.raises(TimeoutError, match="some of 2 processes did not start"):
        sub_store(dist.HashStore(), 0, 2)


def test_who_has_not_started_is_named_while_the_others_wait(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(distributed, "START_TIMEOUT", 0.5)
    monkeypatch.setattr(distributed, "REMIND", 0.1)
    store = dist.HashStore()
    store.set("skipway/1/token", "of one that has started, and waits")
    for rank, whom in ((0, "processes 2, 3 of 3"), (2, "the first of 3 processes")):
        with pytest.raises(TimeoutError):
            sub_store(store, rank, 3)
        lines = capfd.readouterr().err.splitlines()
        assert 2 <= len(lines) <= 5
        assert lines[0] == f"waiting for {whom} to start; giving up in 0 s"


def test_who_is_lost_is_named_by_the_first_that_is_left_and_who_has_left_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Process 4 leaves, process 1 is lost, and processes 2 and 3 remain."""
    monkeypatch.setattr(lost_processes, "REMIND", 0.2)
    store = dist.HashStore()
    store.set("alive/0", "7 atlas")
    with name_lost_processes(store, 3, 4):
        pass
    with name_lost_processes(store, 1, 4), name_lost_processes(store, 2, 4):
        time.sleep(1)
    lines = capfd.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 5, lines
    assert all(line.startswith("no sign of process 1 of 4 on atlas for ") for line in lines)
    assert lines[0].endswith("; a step that waits for it ends after 1800 s (--group-timeout)")


def test_nobody_is_lost_while_all_are_there(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(lost_processes, "REMIND", 0.3)
    store = dist.HashStore()
    with name_lost_processes(store, 0, 2), name_lost_processes(store, 1, 2):
        time.sleep(0.8)
    assert capfd.readouterr().err == ""


def test_the_timeout_of_a_group_is_that_of_its_option(monkeypatch: pytest.MonkeyPatch) -> None:
    assert group_timeout() == 1800.0
    monkeypatch.setenv(TIMEOUT_VARIABLE, "90")
    assert group_timeout() == 90.0
    for text in ("soon", "0", "nan", "-5", "inf"):
        monkeypatch.setenv(TIMEOUT_VARIABLE, text)
        with pytest.raises(skipway.SkipwayError, match=f"SKIPWAY_GROUP_TIMEOUT is {text}"):
            group_timeout()


def test_every_process_of_a_group_has_the_state_of_the_first(found: dict[str, Any]) -> None:
    assert found["broadcast"] == [[[0.0, 1.0, 2.0], 7]] * 2
