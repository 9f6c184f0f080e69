"""Trouble inside a run: what stops it, what it says, and that nothing which was good is lost."""

import io
import json
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from small import CPU, EVERY_2, QUIET, SHORT, before_step, few_digits, same, weights
from torch import Tensor

from skipway.data import loader, open_source
from skipway.data.loader import Views, batches_of
from skipway.data.preprocess import for_photographs
from skipway.data.source import Source
from skipway.errors import DataError, SkipwayError
from skipway.training import closing, loop, step
from skipway.training.keeping import checkpoints
from skipway.training.prepare import prepare
from skipway.training.recipes import Recipe
from skipway.training.state import Run, fresh_state
from skipway.training.upkeep import Upkeep

FLOAT32 = replace(CPU, dtype=torch.float32)


@pytest.fixture(scope="module")
def digits() -> Source:
    return few_digits()


def test_a_nan_at_step_137_stops_the_run_by_step_and_names_and_it_goes_on_from_the_last_good_checkpoint(
    digits: Source, tmp_path: Path
) -> None:
    recipe = replace(SHORT, epochs=5, batch=8, lr=0.02)  # 33 steps an epoch
    upkeep, out, loss_of = Upkeep(checkpoint_steps=10), tmp_path / "run", step.loss_of

    def planted(prepared: object, outputs: Tensor, targets: Tensor) -> Tensor:
        at_137 = seen[0].step == 136
        return loss_of(prepared, outputs, targets) * (float("nan") if at_137 else 1.0)  # type: ignore[arg-type]

    seen = []
    one_step = loop.one_step
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SkipwayError) as stopped:
        patch.setattr(loop, "one_step", lambda *given: seen.insert(0, given[1]) or one_step(*given))
        patch.setattr(step, "loss_of", planted)
        loop.train(digits, recipe, out, CPU, QUIET, upkeep=upkeep)
    text, folder = str(stopped.value), out / "faults" / "step-00000137"
    assert "\n" not in text
    assert "the loss was no longer a number in step 137, of images digits[" in text
    assert "the last good checkpoint is epoch-" in text
    about = json.loads((folder / "batch.json").read_text())
    order = prepare(digits, recipe, CPU, QUIET)
    picked = next(order.batches.order.batches(4, start=137 - 4 * 33 - 1))
    names = [order.source.train.names[i] for i in picked.tolist()]
    assert about["images"] == names
    assert all(name in text for name in names[:5])
    state = load_file(folder / "state.safetensors")
    assert all(value.isfinite().all() for key, value in state.items() if key.startswith("opt")), "before the update"
    assert int(checkpoints(out)[0].name[-8:]) in range(130, 137)
    whole = loop.train(digits, recipe, tmp_path / "whole", CPU, QUIET)
    assert same(weights(loop.train(digits, recipe, out, CPU, QUIET, resume=True)), weights(whole))


def test_weights_that_are_no_numbers_are_never_a_checkpoint(digits: Source, tmp_path: Path) -> None:
    out = tmp_path / "run"
    one_step = loop.one_step

    def spoiled(run: Run, state: object, *batch: Tensor) -> Tensor:
        scores = one_step(run, state, *batch)  # type: ignore[arg-type]
        if state.step == 4:  # type: ignore[attr-defined]
            with torch.no_grad():
                next(state.net.parameters())[0] = float("inf")  # type: ignore[attr-defined]
        return scores

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SkipwayError, match=r"a weight was .* in step 4,"):
        patch.setattr(loop, "one_step", spoiled)
        loop.train(digits, SHORT, out, CPU, QUIET, upkeep=EVERY_2)
    assert [folder.name for folder in checkpoints(out)] == ["epoch-0000-step-00000002"]


def test_out_of_memory_halves_what_goes_through_at_once_and_the_batch_stays(digits: Source, tmp_path: Path) -> None:
    through, sizes = step.through, []

    def small_memory(run: object, state: object, images: Tensor, targets: Tensor, share: float) -> tuple:
        if len(images) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        sizes.append(len(images))
        return through(run, state, images, targets, share)  # type: ignore[arg-type]

    text = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "through", small_memory)
        out = loop.train(digits, SHORT, tmp_path / "run", CPU, Console(file=text, width=300), upkeep=EVERY_2)
    assert text.getvalue().count("out of memory: from now on") == 2
    assert "from now on 16 images go through the network at once, 4 times a step" in text.getvalue()
    assert "a step is still of 64 images, but batch norm sees 16" in text.getvalue()
    assert sizes == [16] * 4 * 12
    assert json.loads((checkpoints(out)[0] / "state.json").read_text())["micro"] == 16
    asked = loop.train(digits, replace(SHORT, micro=16), tmp_path / "asked", CPU, QUIET)
    assert same(weights(asked), weights(out))


def test_parts_of_a_batch_give_the_gradient_of_the_whole_where_images_do_not_meet(tmp_path: Path) -> None:
    """With batch norm at rest every image is by itself, and the mean over parts is the mean over the batch."""
    recipe = replace(SHORT, average=0.0, balance="weights")
    prepared = prepare(few_digits(), recipe, FLOAT32, QUIET)
    run = Run(prepared, FLOAT32, loop.ALONE, Upkeep(), 12, {}, tmp_path, QUIET)
    state = fresh_state(run)
    state.net.eval()
    images, targets = next(iter(prepared.batches.epoch(0)))
    found = []
    for micro in (0, 24, 1):
        state.micro = micro
        loss, scores = step.accumulated(run, state, images, targets)
        found.append((loss, scores, [p.grad.clone() for p in state.net.parameters() if p.grad is not None]))
    for loss, scores, gradients in found[1:]:
        torch.testing.assert_close(loss, found[0][0])
        torch.testing.assert_close(scores, found[0][1], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradients, found[0][2], rtol=1e-3, atol=1e-6)


def test_a_file_that_goes_bad_in_a_later_epoch_stops_the_run_saved_and_mended_it_goes_on(
    make_photos, tmp_path: Path
) -> None:
    source = open_source(str(make_photos(tmp_path / "photos", each=6)))
    recipe = Recipe("six", model="resnet20", size=72, epochs=3, batch=6, lr=0.01, val=0.0, crop="resized")
    whole = loop.train(source, recipe, tmp_path / "whole", CPU, QUIET)
    victim = Path(source.train.items[3])
    content, out = victim.read_bytes(), tmp_path / "run"

    with pytest.MonkeyPatch.context() as patch, pytest.raises(DataError) as stopped:
        before_step(patch, 4, victim.unlink)
        loop.train(source, recipe, out, CPU, QUIET)
    assert f"{source.train.names[3]} cannot be read (" in str(stopped.value)
    assert f"skipway train --resume {out}" in str(stopped.value)
    saved = int(checkpoints(out)[0].name[-8:])
    assert saved >= 4, "the steps that were taken are saved"
    assert f"to go on from step {saved}" in str(stopped.value)
    victim.write_bytes(content)
    assert same(weights(loop.train(source, recipe, out, CPU, QUIET, resume=True)), weights(whole))


class Stuck(Views):
    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, Tensor] | DataError:
        time.sleep(60)
        return super().__getitem__(index)


class Dying(Views):
    def __getitem__(self, index: tuple[int, int]) -> tuple[Tensor, Tensor] | DataError:
        os._exit(9)


@pytest.mark.parametrize(("kind", "said"), [(Stuck, "gave no images for 1 s"), (Dying, "have died")])
def test_a_worker_that_is_stuck_or_dies_is_a_line(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Views], said: str
) -> None:
    monkeypatch.setattr(loader, "LINGER", 1)
    views, line = kind(open_source(str(photo_folder)).train, for_photographs(32), None), ""
    try:
        list(batches_of(views, [[(0, 0)]], workers=1, pinned=False, patience=1))
    except DataError as fault:
        line = str(fault)
    assert said in line
    assert "\n" not in line
    for worker in multiprocessing.active_children():
        worker.join(20)
        assert not worker.is_alive(), "a worker that does not end keeps whoever waits for its output"


def test_a_missing_number_in_val_does_not_spoil_a_checkpoint(digits: Source, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closing, "validate", lambda *_: {"loss": float("nan"), "top1": 0.5})
        loop.train(digits, replace(SHORT, epochs=1), tmp_path / "run", CPU, QUIET)
    assert np.isnan(json.loads((checkpoints(tmp_path / "run")[0] / "state.json").read_text())["records"][0]["val_loss"])
    loop.train(digits, replace(SHORT, epochs=1), tmp_path / "run", CPU, QUIET, resume=True)
