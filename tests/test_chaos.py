"""The chaos run notices what it is there to notice, and its cheapest cases hold here and now."""

import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path

import pytest
import torch
from served import write_bundle

from benchmarks.chaos import random_kills
from benchmarks.chaos.conditions import clock_jumps, environment
from benchmarks.chaos.forked import Copy, session, start
from benchmarks.chaos.outcome import Failure, require
from benchmarks.chaos.random_kills import Killer, Tally, merged, serve_slowly
from benchmarks.chaos.stories import Downloading, Exporting, Labelling, Training
from skipway import bundle
from skipway.new_files import unfinished
from skipway.training.checkpoint_manager import name_of, write
from skipway.training.state_codec import Checkpoint

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="processes are watched in /proc"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
DEAD = Copy(0, code=-9)
CONTENT = random.Random(0).randbytes(1 << 20)


def checkpoint(step: int) -> Checkpoint:
    sums = {"loss": 0.0, "steps": 0, "seconds": 0.0, "waited": 0.0, "spent": 0.0}
    fields: dict[str, object] = {key: {} for key in ("recipe", "network", "code", "hardware")}
    values = {"schema": 2, "step": step, "micro": 0, "data": "", "sums": sums, "records": [], **fields}
    return Checkpoint({"a": torch.zeros(3)}, values)


def downloading(folder: Path, url: str = "http://127.0.0.1:1/w") -> Downloading:
    return Downloading(folder / "download", url, CONTENT, hashlib.sha256(CONTENT).hexdigest())


def test_a_copy_is_killed_with_what_it_started_in_its_group(tmp_path: Path) -> None:
    def busy() -> None:
        if os.fork() == 0:
            time.sleep(60)
        (tmp_path / "ready").touch()
        time.sleep(60)

    copy = start(busy, tmp_path / "out", tmp_path / "err")
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    assert len(session(copy.pid)) == 2
    copy.kill()
    until = time.monotonic() + 5
    while copy.left() and time.monotonic() < until:
        time.sleep(0.01)
    assert (copy.code, copy.left()) == (-9, [])


def test_downloads_that_are_killed_at_random_moments_end_with_the_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_kills, "PAUSE", 0.004)
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "mine.txt").write_text("mine")
    server = start(lambda: serve_slowly(CONTENT, tmp_path / "port"), tmp_path / "slow", tmp_path / "slow")
    try:
        while not (tmp_path / "port").exists():
            time.sleep(0.01)
        story = downloading(tmp_path, f"http://127.0.0.1:{(tmp_path / 'port').read_text()}/w")
        killer = Killer(random.Random(0), tmp_path / "user")
        killer.undisturbed(story)
        while killer.tally("downloading").kills < 3:
            killer.kill(story)
        killer.end(story)
    finally:
        server.kill()
    tally = killer.tally("downloading")
    assert tally.losses == []
    assert tally.ended >= 1


def test_bytes_that_a_download_had_and_has_no_more_are_a_loss(tmp_path: Path) -> None:
    story = downloading(tmp_path)
    story.part.write_bytes(CONTENT[:5000])
    assert story.harm(DEAD) == ""
    story.part.write_bytes(CONTENT[:4000])
    assert "1000 bytes that had been received are lost" in story.harm(DEAD)
    story.part.write_bytes(b"another file")
    assert "not the file's" in story.harm(DEAD)
    story.file.write_bytes(CONTENT[:-1])
    assert "half-written" in story.harm(DEAD)


def test_a_checkpoint_that_is_lost_or_damaged_is_a_loss(tmp_path: Path) -> None:
    story = Training(tmp_path / "training", tmp_path)
    folder = story.run / "checkpoints"
    folder.mkdir(parents=True)
    for step in (1, 2):
        write(folder / name_of(0, step), checkpoint(step))
    assert story.harm(DEAD) == ""
    (folder / name_of(0, 2) / "state.json").write_text("{}")
    assert "a checkpoint is damaged" in story.harm(DEAD)
    (folder / name_of(0, 2)).rename(folder / ".gone")
    assert "the checkpoint epoch-0000-step-00000002 is lost" in story.harm(DEAD)


def test_a_bundle_that_is_neither_whole_nor_unfinished_is_a_loss(tmp_path: Path) -> None:
    story = Training(tmp_path / "training", tmp_path)
    write_bundle(story.run)
    assert story.harm(DEAD) == ""
    (story.run / "README.md").write_text("half")
    assert "neither whole nor none" in story.harm(DEAD)
    (story.run / bundle.SUMS).unlink()
    assert story.harm(DEAD) == ""


def test_half_an_export_and_half_of_the_labels_are_losses(tmp_path: Path) -> None:
    export = Exporting(tmp_path / "export", tmp_path, "onnx")
    export.whole = {"model.onnx": "0" * 64}
    assert export.harm(DEAD) == ""
    export.out.mkdir()
    (export.out / "model.onnx").write_bytes(b"half")
    assert export.harm(DEAD) == "a half-written export"
    labels = Labelling(tmp_path / "labels", tmp_path, [], as_json=False)
    labels.whole = b"image,label\na,b\n"
    unfinished(labels.file).write_bytes(b"image,")
    assert labels.harm(DEAD) == ""
    labels.file.write_bytes(b"image,")
    assert "half-written labels" in labels.harm(DEAD)


def test_what_a_refusal_says_is_done_and_another_end_is_none(tmp_path: Path) -> None:
    labels = Labelling(tmp_path / "labels", tmp_path, [], as_json=False)
    left = unfinished(labels.file)
    left.write_bytes(b"image,")
    labels.errors.write_text("skipway: no memory")
    assert not labels.refused(Copy(0, code=2))
    labels.errors.write_text(f"skipway: {left} is what an earlier run left: remove it, or choose another --csv")
    assert labels.refused(Copy(0, code=2))
    assert not left.exists()


def test_a_file_of_the_user_that_changes_is_a_loss(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    killer = Killer(random.Random(0), tmp_path)
    killer.record("training", "")
    (tmp_path / "mine").write_text("theirs")
    killer.record("training", "")
    assert killer.tally("training").losses == ["a file of the user was changed"]


def test_the_figures_of_several_jobs_are_those_of_one(tmp_path: Path) -> None:
    for i, losses in enumerate(([], ["lost"])):
        killer = Killer(random.Random(0), tmp_path / "none", {"serving": Tally(3, 2, 1, 0, losses)})
        killer.left_behind["serving"] = 2
        killer.write(tmp_path / f"{i}.json")
    found = merged([tmp_path / "0.json", tmp_path / "1.json"])
    assert (found["kills"], found["lost"], found["losses"]) == (6, 1, {"serving": ["lost"]})
    assert found["by_verb"] == {"serving": {"kills": 6, "while_writing": 4, "ended": 2, "refusals": 0}}
    assert json.dumps(found["left_behind"]) == '{"serving": 4}'


def test_the_clock_of_a_case_jumps_and_the_monotonic_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", time.time)  # put back afterwards
    before, steady = time.time(), time.monotonic()
    clock_jumps(86_400.0, after=0.0)()
    time.sleep(0.01)
    assert 86_300 < time.time() - before < 86_500
    assert time.monotonic() - steady < 60


def test_a_temporary_folder_of_a_case_is_used_though_another_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", "/somewhere/else")
    monkeypatch.setenv("TMPDIR", "/another")
    environment(TMPDIR=str(tmp_path))()
    assert tempfile.gettempdir() == str(tmp_path)


def test_a_case_that_does_not_hold_fails() -> None:
    require(True, "not said")
    with pytest.raises(Failure, match="what was wrong"):
        require(False, "what was wrong")
