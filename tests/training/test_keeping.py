"""Checkpoints on disk: whole or not at all, and no damage goes unnoticed."""

import errno
import io
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mutated import damaged, mutations
from rich.console import Console
from small import CPU, EVERY_2, QUIET, SHORT, few_digits, same, weights

from skipway import bundle, models
from skipway.errors import BundleError, SkipwayError
from skipway.trained import TrainedModel
from skipway.training import checkpoint_manager, loop
from skipway.training.checkpoint_manager import (
    STATE,
    TENSORS,
    CheckpointManager,
    checkpoints,
    name_of,
    newest,
    read,
    write,
)
from skipway.training.state_codec import Checkpoint

STATE_VALUES: dict[str, Any] = {
    "schema": checkpoint_manager.SCHEMA,
    **{"recipe": {"lr": 0.1}, "data": "f" * 64, "network": {"name": "resnet20"}, "step": 4, "micro": 0},
    "sums": {"loss": 1.5, "steps": 4, "seconds": 0.1, "waited": 0.0, "spent": 0.2},
    "records": [{"epoch": 1, "step": 4, "train_loss": 1.0, "seconds": 1.0}],
    **{"code": {"commit": "x"}, "hardware": {"device": "cpu"}},
}


def checkpoint(step: int = 4, epochs: int = 1) -> Checkpoint:
    records = [{"epoch": i + 1, "step": step, "train_loss": 1.0, "seconds": 1.0} for i in range(epochs)]
    tensors = {"net.a": torch.arange(40.0) + step, "opt0.0.step": torch.tensor(step)}
    return Checkpoint(tensors, {**STATE_VALUES, "step": step, "records": records})


def test_what_is_read_is_what_was_written_and_sha256sum_agrees(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / name_of(1, 4)
    write(folder, checkpoint())
    back = read(folder)
    assert same(back.tensors, checkpoint().tensors)
    assert back.state == checkpoint().state
    assert (
        subprocess.run(["sha256sum", "-c", bundle.SUMS], cwd=folder, capture_output=True, check=False).returncode == 0
    )
    assert {file.name for file in folder.iterdir()} == {TENSORS, STATE, bundle.SUMS}


def test_the_newest_two_and_the_best_are_kept(tmp_path: Path) -> None:
    with CheckpointManager(tmp_path, QUIET, EVERY_2) as manager:
        for step in (2, 4, 6, 8, 10):
            manager.save(checkpoint(step), best=(1, 4) if step >= 4 else None)
    assert [folder.name for folder in checkpoints(tmp_path)] == [name_of(1, step) for step in (10, 8, 4)]
    with CheckpointManager(tmp_path, QUIET, EVERY_2) as manager:
        manager.save(checkpoint(12), best=(1, 10))
    assert [folder.name for folder in checkpoints(tmp_path)] == [name_of(1, step) for step in (12, 10)]


@pytest.mark.parametrize("file", [TENSORS, STATE, bundle.SUMS])
def test_damage_anywhere_in_the_newest_is_said_and_the_one_before_is_used(tmp_path: Path, file: str) -> None:
    for step in (4, 6):
        write(tmp_path / "checkpoints" / name_of(1, step), checkpoint(step))
    target = tmp_path / "checkpoints" / name_of(1, 6) / file
    whole = target.read_bytes()
    spoiled = [damaged(whole, at) for at in range(0, len(whole), max(1, len(whole) // 24))]
    for content in [*spoiled, whole[: len(whole) // 2], b"", None]:
        target.unlink(missing_ok=True)
        if content is not None:
            target.write_bytes(content)
        text = io.StringIO()
        found = newest(tmp_path, Console(file=text, width=300))
        assert found is not None
        assert found[1].state["step"] == 4
        assert text.getvalue().count("\n") == 1
        assert "is damaged" in text.getvalue()
        assert "the one before it is used" in text.getvalue()
    target.write_bytes(whole)
    found = newest(tmp_path, QUIET)
    assert found is not None
    assert found[1].state["step"] == 6


def test_when_none_is_whole_the_run_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / name_of(1, 4)
    write(folder, checkpoint())
    (folder / STATE).write_text("{}")
    with pytest.raises(BundleError, match="no intact checkpoint"):
        newest(tmp_path, QUIET)


def test_a_kill_while_an_old_checkpoint_is_deleted_leaves_no_part_of_one_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(folder: Path, **_: object) -> None:
        (folder / "state.json").unlink()
        raise Killed

    old = tmp_path / "checkpoints" / name_of(0, 1)
    old.mkdir(parents=True)
    (old / "state.json").write_text("{}")
    monkeypatch.setattr(checkpoint_manager.shutil, "rmtree", killed)
    with pytest.raises(Killed):
        checkpoint_manager.remove(old)
    assert checkpoints(tmp_path) == []


def test_a_half_written_checkpoint_is_not_one_and_is_taken_away(tmp_path: Path) -> None:
    write(tmp_path / "checkpoints" / name_of(1, 4), checkpoint())
    shutil.copytree(tmp_path / "checkpoints" / name_of(1, 4), tmp_path / "checkpoints" / f".{name_of(1, 6)}.abc")
    assert [folder.name for folder in checkpoints(tmp_path)] == [name_of(1, 4)]
    with CheckpointManager(tmp_path, QUIET, EVERY_2):
        pass
    assert [folder.name for folder in (tmp_path / "checkpoints").glob("*epoch*")] == [name_of(1, 4)]


def test_a_run_that_went_back_replaces_what_it_writes_again(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / name_of(1, 4)
    write(folder, checkpoint())
    write(folder, replace(checkpoint(), tensors={"net.a": torch.zeros(3)}))
    assert read(folder).tensors.keys() == {"net.a"}
    assert len(list(folder.parent.iterdir())) == 1


HOLDING = """
import sys
from pathlib import Path
from rich.console import Console
from skipway.training.checkpoint_manager import CheckpointManager
from skipway.training.run_manifest import DEFAULT_OPTIONS
with CheckpointManager(Path(sys.argv[1]), Console(quiet=True), DEFAULT_OPTIONS):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_never_train_in_one_folder(tmp_path: Path) -> None:
    pipe, python = subprocess.PIPE, [sys.executable, "-c", HOLDING, str(tmp_path)]
    with subprocess.Popen(python, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said = f"process {holder.pid} is training in {tmp_path}: wait until it has finished, or stop it"
        with pytest.raises(BundleError, match=said), CheckpointManager(tmp_path, QUIET, EVERY_2):
            pass
        holder.kill()
    with CheckpointManager(tmp_path, QUIET, EVERY_2):
        pass


@pytest.fixture
def little_room(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB, which a few checkpoints of resnet20 (2 MB) fill."""
    folder = tmp_path / "little"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system can be mounted by root alone")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_said_the_run_goes_on_and_what_was_written_stays_whole(
    little_room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle.shutil, "disk_usage", lambda _folder: shutil._ntuple_diskusage(2**40, 0, 2**40))
    text, run = io.StringIO(), little_room / "run"
    with pytest.raises(BundleError, match=r"cannot be written \(No space left on device\): free some space, then"):
        loop.train(few_digits(), SHORT, run, CPU, Console(file=text, width=300), options=EVERY_2)
    assert "warning: a checkpoint could not be written" in text.getvalue()
    assert "epoch   3" in text.getvalue()
    first = newest(run, QUIET)
    assert first is not None, "what was whole before the disk was full"
    subprocess.run(["mount", "-o", "remount,size=64m", little_room], check=True)
    loop.train(few_digits(), SHORT, run, CPU, QUIET, resume=True, options=EVERY_2)
    whole = loop.train(few_digits(), SHORT, little_room / "whole", CPU, QUIET)
    assert same(weights(whole), weights(run))


def test_a_disk_that_refuses_is_said_once_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "checkpoints" / name_of(1, 4), checkpoint())

    def full(*_given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    text = io.StringIO()
    monkeypatch.setattr(checkpoint_manager, "save_file", full)
    with CheckpointManager(tmp_path, Console(file=text, width=300), EVERY_2) as manager:
        manager.save(checkpoint(6), None)
    assert text.getvalue().count("No space left on device") == 1
    assert [folder.name for folder in (tmp_path / "checkpoints").glob("*epoch*")] == [name_of(1, 4)]


def test_a_checkpoint_of_another_network_is_refused_by_name(tmp_path: Path) -> None:
    digits, run = few_digits(), tmp_path / "run"
    loop.train(digits, replace(SHORT, epochs=1), run, CPU, QUIET)
    other = loop.train(digits, replace(SHORT, epochs=1, model="resnet32"), tmp_path / "other", CPU, QUIET)
    theirs, ours = checkpoints(other)[0], checkpoints(run)[0]
    shutil.copytree(theirs, ours, dirs_exist_ok=True)
    with pytest.raises(SkipwayError, match=r"started with another recipe \(model\)"):
        loop.train(digits, replace(SHORT, epochs=1), run, CPU, QUIET, resume=True)
    found = read(theirs)
    identity = json.loads((ours / STATE).read_text()) | {"recipe": found.state["recipe"] | {"model": "resnet20"}}
    identity["network"]["name"] = "resnet20"
    write(ours, replace(found, state=identity))
    with pytest.raises(SkipwayError, match=r"does not fit this run: it belongs to another network \(layer"):
        loop.train(digits, replace(SHORT, epochs=1), run, CPU, QUIET, resume=True)


def sign(folder: Path, names: tuple[str, ...]) -> None:
    """Checksums as if whoever mutated the files had made them."""
    (folder / bundle.SUMS).write_text("".join(f"{bundle.sha256(folder / name)}  {name}\n" for name in names))


@pytest.mark.parametrize("signed", [False, True], ids=["sums as they were", "sums made anew"])
def test_600_mutated_checkpoints_are_read_or_refused_in_a_line(tmp_path: Path, signed: bool) -> None:
    folder, chance, refused = tmp_path / name_of(1, 4), random.Random(3), 0
    write(folder, checkpoint())
    for name in (TENSORS, STATE):
        whole = (folder / name).read_bytes()
        for content in mutations(whole, 150, chance):
            (folder / name).write_bytes(content)
            if signed:
                sign(folder, (TENSORS, STATE))
            try:
                read(folder)
            except BundleError as fault:
                refused += 1
                assert "\n" not in str(fault)
        (folder / name).write_bytes(whole)
        sign(folder, (TENSORS, STATE))
    assert refused > (150 if signed else 295)


@pytest.mark.parametrize("signed", [False, True], ids=["sums as they were", "sums made anew"])
def test_400_mutated_cards_are_read_or_refused_in_a_line(tmp_path: Path, signed: bool) -> None:
    net, chance, refused = models.build("resnet20", 2, 1), random.Random(4), 0
    card = bundle.Card(
        "classify", {"name": "resnet20", "classes": 2, "channels": 1}, ["a", "b"],
        {"channels": 1, "size": 8, "resize": 8, "mean": [0.5], "std": [0.5]}, {"name": "quick"},
        {"name": "x", "fingerprint": "f", "counts": {}}, {}, {}, "c", "now", 1, 1.0,
    )  # fmt: skip
    bundle.write(tmp_path, net.state_dict(), card)
    file, sums = tmp_path / "card.json", (tmp_path / bundle.SUMS).read_bytes()
    for number, content in enumerate(mutations(file.read_bytes(), 200, chance)):
        file.write_bytes(content)
        if signed:
            sign(tmp_path, bundle.FILES)
        try:
            bundle.read_card(tmp_path)
            if number < 60:
                TrainedModel.load(tmp_path)
        except SkipwayError as fault:
            refused += 1
            assert "\n" not in str(fault)
        (tmp_path / bundle.SUMS).write_bytes(sums)
    assert refused > (100 if signed else 195)
