"""Trouble inside a run: what stops it, what it says, and that nothing which was good is lost."""

import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from small import CPU, EVERY_2, QUIET, SHORT, before_step, few_digits, same, weights
from torch import Tensor

from skipway.data import loader, open_dataset
from skipway.data.dataset import Dataset
from skipway.data.loader import Batch, ImageViews, batches_of
from skipway.data.preprocess import for_photographs
from skipway.errors import DataError, SkipwayError
from skipway.tasks.base import LossResult
from skipway.tasks.classify.scores import ClassScores
from skipway.training import dataloaders, loop, step, validation
from skipway.training.checkpoint_manager import checkpoints
from skipway.training.errors import out_of_memory
from skipway.training.recipes import Recipe
from skipway.training.run_manifest import RunOptions
from skipway.training.setup import setup_training
from skipway.training.train_state import TrainRun, fresh_state

FLOAT32 = replace(CPU, dtype=torch.float32)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return few_digits()


def test_a_nan_at_step_47_stops_the_run_by_step_and_names_and_it_goes_on_from_the_last_good_checkpoint(
    tmp_path: Path,
) -> None:
    digits = few_digits(100)
    recipe = replace(SHORT, epochs=5, batch=8, lr=0.02)  # 11 steps an epoch
    options, out, loss_of = RunOptions(checkpoint_steps=10), tmp_path / "run", ClassScores.loss

    def planted(*given: Any) -> LossResult:
        losses, outputs = loss_of(*given)
        return LossResult({"loss": losses["loss"] * (float("nan") if seen[0].step == 46 else 1.0)}, outputs)

    seen = []
    train_step = loop.train_step
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SkipwayError) as stopped:
        patch.setattr(
            loop, "train_step", lambda *given, counted: seen.insert(0, given[1]) or train_step(*given, counted)
        )
        patch.setattr(ClassScores, "loss", planted)
        loop.train(digits, recipe, out, CPU, QUIET, options=options)
    text, folder = str(stopped.value), out / "faults" / "step-00000047"
    assert "\n" not in text
    assert "the loss became NaN or infinite in step 47, of images digits[" in text
    assert "the last good checkpoint is epoch-" in text
    about = json.loads((folder / "batch.json").read_text())
    order = setup_training(digits, recipe, CPU, QUIET)
    picked = next(order.batches.order.batches(4, start=47 - 4 * 11 - 1))
    names = [order.dataset.train.names[i] for i in picked.tolist()]
    assert about["images"] == names
    assert all(name in text for name in names[:5])
    state = load_file(folder / "state.safetensors")
    assert all(value.isfinite().all() for key, value in state.items() if key.startswith("opt")), "before the update"
    assert int(checkpoints(out)[0].name[-8:]) in range(40, 47)
    whole = loop.train(digits, recipe, tmp_path / "whole", CPU, QUIET)
    assert same(weights(loop.train(digits, recipe, out, CPU, QUIET, resume=True)), weights(whole))


def test_weights_that_are_no_numbers_are_never_a_checkpoint(digits: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train_step = loop.train_step

    def spoiled(run: TrainRun, state: object, *batch: Any, counted: bool) -> Tensor | None:
        counts = train_step(run, state, *batch, counted=counted)  # type: ignore[arg-type]
        if state.step == 4:  # type: ignore[attr-defined]
            with torch.no_grad():
                next(state.net.parameters())[0] = float("inf")  # type: ignore[attr-defined]
        return counts

    message = r"a weight became NaN or infinite in step 4,"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SkipwayError, match=message):
        patch.setattr(loop, "train_step", spoiled)
        loop.train(digits, SHORT, out, CPU, QUIET, options=EVERY_2)
    assert [folder.name for folder in checkpoints(out)] == ["epoch-0000-step-00000002"]


def test_out_of_memory_halves_what_goes_through_at_once_and_the_batch_stays(digits: Dataset, tmp_path: Path) -> None:
    through, sizes = step.forward_backward, []

    def small_memory(run: object, state: object, batch: Batch, counted: bool, share: float, *rest: Any) -> tuple:
        if len(batch.images) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        sizes.append(len(batch.images))
        return through(run, state, batch, counted, share, *rest)  # type: ignore[arg-type]

    text, recipe = io.StringIO(), replace(SHORT, batch=24, epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "forward_backward", small_memory)
        out = loop.train(digits, recipe, tmp_path / "run", CPU, Console(file=text, width=300), options=EVERY_2)
    assert text.getvalue().count("out of memory: from now on") == 2
    assert "from now on 6 images are computed at once, 4 times a step" in text.getvalue()
    assert "a step still has 24 images, but batch norm is over 6" in text.getvalue()
    assert sizes == [6] * 4 * 11
    assert json.loads((checkpoints(out)[0] / "state.json").read_text())["micro"] == 6
    asked = loop.train(digits, replace(recipe, micro=6), tmp_path / "asked", CPU, QUIET)
    assert same(weights(asked), weights(out))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("could not create a primitive"), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("could not create a primitive descriptor for a convolution"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("DefaultCPUAllocator"), False),
    ],
)
def test_what_libraries_say_without_memory_is_told_from_other_errors(error: Exception, expected: bool) -> None:
    assert out_of_memory(error) is expected


def test_parts_of_a_batch_give_the_gradient_of_the_whole_where_images_do_not_meet(tmp_path: Path) -> None:
    """With batch norm at rest every image is by itself, and the mean over parts is the mean over the batch."""
    recipe = replace(SHORT, average=0.0, balance="weights")
    setup = setup_training(few_digits(), recipe, FLOAT32, QUIET)
    run = TrainRun(setup, FLOAT32, loop.SINGLE_PROCESS, RunOptions(), 12, {}, tmp_path, QUIET)
    state = fresh_state(run)
    state.net.eval()
    batch = next(iter(setup.batches.epoch(0)))
    found = []
    for micro in (0, 24, 1):
        state.micro = micro
        loss, counts = step.accumulate_gradients(run, state, batch, True)
        found.append((loss, counts, [p.grad.clone() for p in state.net.parameters() if p.grad is not None]))
    for loss, counts, gradients in found[1:]:
        torch.testing.assert_close(loss, found[0][0])
        assert torch.equal(counts, found[0][1])
        torch.testing.assert_close(gradients, found[0][2], rtol=1e-3, atol=1e-6)


def test_a_file_that_goes_bad_in_a_later_epoch_stops_the_run_saved_and_mended_it_goes_on(
    make_photos, tmp_path: Path
) -> None:
    dataset = open_dataset(str(make_photos(tmp_path / "photos", each=6)))
    recipe = Recipe("six", model="resnet20", size=72, epochs=3, batch=6, lr=0.01, val=0.0, crop="resized")
    whole = loop.train(dataset, recipe, tmp_path / "whole", CPU, QUIET)
    victim = Path(dataset.train.items[3])
    content, out = victim.read_bytes(), tmp_path / "run"

    with pytest.MonkeyPatch.context() as patch, pytest.raises(DataError) as stopped:
        patch.setattr(dataloaders, "decoded_side", lambda *_: None)  # files are read in every epoch
        before_step(patch, 4, victim.unlink)
        loop.train(dataset, recipe, out, CPU, QUIET)
    assert f"{dataset.train.names[3]} cannot be read (" in str(stopped.value)
    assert f"skipway train --resume {out}" in str(stopped.value)
    saved = int(checkpoints(out)[0].name[-8:])
    assert saved >= 4, "the steps that were taken are saved"
    assert f"to continue from step {saved}" in str(stopped.value)
    victim.write_bytes(content)
    assert same(weights(loop.train(dataset, recipe, out, CPU, QUIET, resume=True)), weights(whole))


class Stuck(ImageViews):
    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, Tensor] | DataError:
        time.sleep(60)
        return super().__getitem__(index)


class Dying(ImageViews):
    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, Tensor] | DataError:
        os._exit(9)


@pytest.mark.parametrize(("kind", "said"), [(Stuck, "returned no images for 1 s"), (Dying, "died")])
def test_a_worker_that_is_stuck_or_dies_is_a_line(photo_folder: Path, kind: type[ImageViews], said: str) -> None:
    views, line = kind(open_dataset(str(photo_folder)).train, for_photographs(32), None), ""
    try:
        list(batches_of(views, [[(0, 0)]], workers=1, pinned=False, timeout=1))
    except DataError as fault:
        line = str(fault)
    assert said in line
    assert "\n" not in line
    for worker in multiprocessing.active_children():
        worker.join(20)
        assert not worker.is_alive(), "a worker that does not end keeps whoever waits for its output"


SLOW = """
import sys, time
from pathlib import Path
import typer
from rich.console import Console
from skipway import hardware
from skipway.cli.train import exit_on_interrupt
from skipway.data import loader, open_dataset
from skipway.training import dataloaders, loop
from skipway.training.recipes import Recipe
dataloaders.decoded_side = lambda *_: None  # files are read in every epoch, by workers
loader.POLL = 0.1
train_step, taken = loop.train_step, []
def slow(*given, counted):
    taken.append(1)
    if len(taken) == 2:
        print("in step 2", flush=True)
        time.sleep(1.5)
    return train_step(*given, counted)
loop.train_step = slow
recipe = Recipe("slow", model="resnet20", size=72, epochs=3, batch=6, lr=0.01, val=0.0, crop="resized")
settings = hardware.decide("cpu", precision="float32", workers=1)
try:
    with exit_on_interrupt():
        loop.train(open_dataset("photos"), recipe, Path("run"), settings, Console(quiet=True))
except typer.Exit as ended:
    sys.exit(ended.exit_code)
"""


def test_sigterm_to_all_processes_in_a_long_step_is_a_line_with_workers_too(make_photos, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", each=6)
    with in_its_own_group(SLOW, tmp_path) as run:
        assert any(line == "in step 2\n" for line in run.stdout or ())
        os.killpg(run.pid, signal.SIGTERM)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 128 + signal.SIGTERM
    lines = [line for line in said.splitlines() if line]
    assert len(lines) == 2
    assert lines[0].startswith("finishing the step")
    assert lines[1] == "stopped by SIGTERM after step 2; to continue: skipway train --resume run"
    assert checkpoints(tmp_path / "run")[0].name.endswith("step-00000002")


def test_a_worker_that_is_killed_in_a_step_is_a_line(
    make_photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch tells of it wherever the process is just then, which is seldom where it asks for images."""

    def kill() -> None:
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
        time.sleep(1.5)

    dataset, out = open_dataset(str(make_photos(tmp_path / "photos", each=6))), tmp_path / "run"
    recipe = Recipe("slow", model="resnet20", size=72, epochs=3, batch=6, lr=0.01, val=0.0, crop="resized")
    monkeypatch.setattr(dataloaders, "decoded_side", lambda *_: None)  # files are read in every epoch, by workers
    monkeypatch.setattr(loader, "POLL", 0.1)
    before_step(monkeypatch, 2, kill)
    with pytest.raises(SkipwayError) as stopped:
        loop.train(dataset, recipe, out, replace(CPU, workers=1), QUIET)
    said = str(stopped.value)
    assert said.startswith("the decoding workers died (DataLoader worker (pid ")
    assert said.endswith(f"; to continue: skipway train --resume {out}")
    assert "\n" not in said


ORPHAN = """
import time
from skipway.data import loader
loader.POLL = 0.1
class Stuck(loader.ImageViews):
    def __getitem__(self, index):
        print("stuck", flush=True)
        time.sleep(60)
list(loader.batches_of(Stuck(None, None, None), [[(0, 0)]], workers=1, pinned=False))
"""


def test_a_stuck_worker_goes_soon_after_the_process_that_trains(tmp_path: Path) -> None:
    with in_its_own_group(ORPHAN, tmp_path) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "stuck\n"
        os.killpg(run.pid, signal.SIGTERM)
        run.communicate(timeout=15)  # until nobody holds its output any more
    assert run.returncode == -signal.SIGTERM


@contextmanager
def in_its_own_group(code: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs `code` in `folder`, the first of a process group that is killed in the end."""
    run = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield run
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def test_a_missing_number_in_val_does_not_spoil_a_checkpoint(digits: Dataset, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "validate", lambda *_: {"loss": float("nan"), "top1": 0.5})
        loop.train(digits, replace(SHORT, epochs=1), tmp_path / "run", CPU, QUIET)
    assert np.isnan(json.loads((checkpoints(tmp_path / "run")[0] / "state.json").read_text())["records"][0]["val_loss"])
    loop.train(digits, replace(SHORT, epochs=1), tmp_path / "run", CPU, QUIET, resume=True)
