"""Steps recorded once and replayed: the same weights as steps taken one by one, without a GPU.

`Tape` is a graph in the sense of CUDA's: it keeps the operations of one step with the memory they work on and the
numbers that came from Python, and does only those again. A number that should change from step to step and comes from
Python is therefore wrong in every replay, as it would be on a GPU.
"""

import inspect
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from small import CPU, EVERY_2, QUIET, Killed, few_digits, losses, same, weights
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skipway.data import open_dataset
from skipway.data.dataset import Dataset
from skipway.data.loader import Batch
from skipway.data.read_options import ReadOptions
from skipway.errors import SkipwayError
from skipway.training import cuda_graphs, loop, step
from skipway.training.cuda_graphs import Outputs, StepGraphs, can_record, step_graphs
from skipway.training.distributed import Group
from skipway.training.recipes import QUICK, RECIPES, Recipe
from skipway.training.run_manifest import RunOptions
from skipway.training.setup import setup_training
from skipway.training.train_state import TrainRun, TrainState, fresh_state

FLOAT32 = replace(CPU, dtype=torch.float32, fused_units=False)  # the recorder sees torch's operations alone
STEPS = replace(QUICK, model="resnet20", epochs=2, val_every=2, batch=24, average=0.0, clip=0.0)  # 11 steps an epoch


class Taping(TorchDispatchMode):
    """Appends every operation, with its arguments and results, to `operations`."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple, dict, Any]] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        results = operation(*args, **(kwargs or {}))
        self.operations.append((operation, args, kwargs or {}, results))
        return results


class Tape:
    """A recorder for tests. What a recording does is undone, as CUDA does nothing while it records."""

    def __init__(self, state: TrainState) -> None:
        self.state, self.recorded, self.replayed = state, 0, 0

    def beside(self) -> nullcontext[None]:
        return nullcontext()

    def tensors(self) -> list[Tensor]:
        slots = [v for o in self.state.optimisers for values in o.state.values() for v in values.values()]
        return [v for v in (*self.state.net.state_dict().values(), *slots) if isinstance(v, Tensor)]

    def record(self, work: Callable[[], Outputs]) -> Callable[[], Outputs]:
        before, random = [(v, v.detach().clone()) for v in self.tensors()], torch.get_rng_state()
        with Taping() as taping:
            outputs = work()
        torch.set_rng_state(random)
        with torch.no_grad():
            for tensor, value in before:
                tensor.copy_(value)
        self.recorded += 1

        def replay() -> Outputs:
            self.replayed += 1
            with torch.no_grad():
                for operation, args, kwargs, results in taping.operations:
                    overwrite(tree_leaves(results), tree_leaves(operation(*args, **kwargs)))
            return outputs

        return replay


def overwrite(there: Sequence[Any], values: Sequence[Any]) -> None:
    """Copy the results of an operation done again into the memory of those recorded; views and updates are there."""
    for recorded, value in zip(there, values, strict=True):
        if isinstance(recorded, Tensor) and recorded.data_ptr() != value.data_ptr():
            recorded.copy_(value)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return few_digits()


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Tape]]:
    """Trainings record their steps on tapes, which are listed."""
    made: list[Tape] = []

    def taped(run: TrainRun, state: TrainState) -> StepGraphs:
        assert can_record(run, state)
        made.append(Tape(state))
        return StepGraphs(run, state, made[-1])

    monkeypatch.setattr(loop, "step_graphs", taped)
    yield made


def opened(dataset: Dataset, recipe: Recipe, out: Path) -> TrainRun:
    setup = setup_training(dataset, recipe, FLOAT32, QUIET)
    return TrainRun(setup, FLOAT32, loop.SINGLE_PROCESS, RunOptions(), 22, {}, out, QUIET)


def eager(digits: Dataset, recipe: Recipe, out: Path, hardware: Any = FLOAT32) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "step_graphs", lambda run, state: None)
        return loop.train(digits, recipe, out, hardware, QUIET)


ADAMW = {"optimiser": "adamw", "lr": 2e-3}
CASES: dict[str, dict[str, Any]] = {
    "sgd with momentum": {},
    "sgd without momentum, rates by layer, mixup": {
        "momentum": 0.0,
        "nesterov": False,
        "rate_decay": 0.7,
        "decay_all": False,
        "mixup": 0.4,
    },
    "adamw": ADAMW,
    "sgd, average": {"average": 0.9},
    "adamw, clip, power-function average": {**ADAMW, "clip": 0.5, "average_width": 0.1},
    "clip, stochastic depth, class weights": {"clip": 0.5, "survival": 0.5, "balance": "weights"},
}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_replayed_steps_give_the_weights_of_steps_taken_one_by_one(
    changes: dict[str, Any], digits: Dataset, tmp_path: Path, tapes: list[Tape]
) -> None:
    recipe = replace(STEPS, **changes)
    expected = weights(eager(digits, recipe, tmp_path / "eager"))
    found = weights(loop.train(digits, recipe, tmp_path / "recorded", FLOAT32, QUIET))
    assert (tapes[0].recorded, tapes[0].replayed) == (1, 22 - cuda_graphs.WARM)
    assert same(found, expected)
    assert losses(tmp_path / "recorded") == losses(tmp_path / "eager")


def test_replayed_steps_of_muon_are_those_taken_one_by_one_with_the_rate_in_a_tensor(
    digits: Dataset, tmp_path: Path, tapes: list[Tape], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate in a tensor is rounded otherwise than a number, so steps with a number are equal within rounding alone."""
    recipe = replace(STEPS, optimiser="muon", muon_rate=0.1)
    found = weights(loop.train(digits, recipe, tmp_path / "recorded", FLOAT32, QUIET))
    number = eager(digits, recipe, tmp_path / "number")
    monkeypatch.setattr(cuda_graphs, "WARM", 100)
    assert same(found, weights(loop.train(digits, recipe, tmp_path / "tensor", FLOAT32, QUIET)))
    assert [tape.recorded for tape in tapes] == [1, 0]
    assert losses(tmp_path / "recorded") == pytest.approx(losses(number), rel=1e-2)


def test_bfloat16_steps_are_replayed_too(digits: Dataset, tmp_path: Path, tapes: list[Tape]) -> None:
    hardware = replace(FLOAT32, dtype=torch.bfloat16)
    expected = weights(eager(digits, STEPS, tmp_path / "eager", hardware))
    assert same(weights(loop.train(digits, STEPS, tmp_path / "recorded", hardware, QUIET)), expected)
    assert tapes[0].replayed


def test_each_size_of_crop_is_recorded_once(digits: Dataset, tmp_path: Path, tapes: list[Tape]) -> None:
    recipe = replace(STEPS, small=6, small_epochs=1)
    expected = weights(eager(digits, recipe, tmp_path / "eager"))
    assert same(weights(loop.train(digits, recipe, tmp_path / "recorded", FLOAT32, QUIET)), expected)
    assert (tapes[0].recorded, tapes[0].replayed) == (2, 22 - 2 * cuda_graphs.WARM)


def test_batches_of_other_sizes_are_taken_one_by_one_or_recorded_apart(
    digits: Dataset, tmp_path: Path, tapes: list[Tape]
) -> None:
    """Every fourth batch is smaller: it is recorded when it has come WARM times."""
    run, found = opened(digits, STEPS, tmp_path), []
    setup = run.setup
    initial = {k: v.clone() for k, v in setup.net.state_dict().items()}
    for recorded in (False, True):
        setup.net.load_state_dict(initial)
        state = fresh_state(run)
        state.net.train()
        tape = Tape(state)
        step = StepGraphs(run, state, tape).train_step if recorded else loop.train_step
        for epoch in range(2):
            for number, batch in enumerate(setup.batches.epoch(epoch)):
                part = batch.split(10)[0] if number % 4 == 3 else batch
                step(run, state, part, counted=True)
        found.append({k: v.clone() for k, v in state.net.state_dict().items()})
    assert tape.recorded == 2
    assert same(*found)


def test_a_run_killed_between_replays_ends_with_the_same_weights(
    digits: Dataset, tmp_path: Path, tapes: list[Tape]
) -> None:
    recipe, out = replace(STEPS, **ADAMW, average=0.9), tmp_path / "run"
    whole = weights(loop.train(digits, recipe, tmp_path / "whole", FLOAT32, QUIET))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        train_step = StepGraphs.train_step

        def watched(graphs: StepGraphs, run: TrainRun, state: TrainState, *batch: Any, **options: Any) -> Tensor | None:
            if state.step == 13:
                raise Killed
            return train_step(graphs, run, state, *batch, **options)

        patch.setattr(StepGraphs, "train_step", watched)
        loop.train(digits, recipe, out, FLOAT32, QUIET, options=EVERY_2)
    resumed = loop.train(digits, recipe, out, FLOAT32, QUIET, resume=True)
    assert [tape.recorded for tape in tapes] == [1, 1, 1]
    assert tapes[2].replayed == 22 - 12 - cuda_graphs.WARM, "from step 12, with the steps before a recording"
    assert same(weights(resumed), whole)


def test_a_loss_that_is_no_number_stops_replayed_steps(digits: Dataset, tmp_path: Path, tapes: list[Tape]) -> None:
    """Rates that grow without bound make the loss infinite while steps are replayed."""
    recipe = replace(STEPS, epochs=20, lr=1e9, schedule="cosine", label_smoothing=0.0)
    with pytest.raises(SkipwayError, match="became NaN or infinite in step"):
        loop.train(digits, replace(recipe, warmup=0.9), tmp_path / "run", FLOAT32, QUIET)
    assert tapes[0].replayed


def test_a_step_that_cannot_be_recorded_is_said_once_and_taken_as_ever(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unable(Tape):
        def record(self, work: Callable[[], Outputs]) -> Callable[[], Outputs]:
            super().record(work)
            raise RuntimeError("operation not permitted when stream is capturing\nand more")

    expected = weights(eager(digits, STEPS, tmp_path / "eager"))
    monkeypatch.setattr(loop, "step_graphs", lambda run, state: StepGraphs(run, state, Unable(state)))
    text = io.StringIO()
    out = loop.train(digits, STEPS, tmp_path / "run", FLOAT32, Console(file=text, width=200))
    assert text.getvalue().count("cannot be recorded as a CUDA graph (operation not permitted") == 1
    assert same(weights(out), expected)


def test_after_running_out_of_memory_steps_are_no_longer_recorded(
    digits: Dataset, tmp_path: Path, tapes: list[Tape], monkeypatch: pytest.MonkeyPatch
) -> None:
    through = step.forward_backward

    def small_memory(run: Any, state: Any, batch: Batch, *rest: Any) -> tuple:
        if len(batch.images) > 12:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        return through(run, state, batch, *rest)

    monkeypatch.setattr(step, "forward_backward", small_memory)
    out = loop.train(digits, STEPS, tmp_path / "run", FLOAT32, QUIET)
    assert tapes[0].recorded == 0
    asked = eager(digits, replace(STEPS, micro=12), tmp_path / "asked")
    assert same(weights(out), weights(asked))


def test_the_loss_is_read_seldom_and_the_rates_are_never_read() -> None:
    """Reading a number waits for the device; replays read the losses of many steps at once."""
    source = inspect.getsource(cuda_graphs)
    assert ".item()" not in source and ".tolist()" not in source


REFUSED: dict[str, dict[str, Any]] = {
    "micro": {"micro": 12},
    "recompute": {"recompute": "on"},
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED)
def test_steps_that_are_not_always_the_same_kernels_are_not_recorded(
    changes: dict[str, Any], digits: Dataset, tmp_path: Path
) -> None:
    for recipe, expected in ((STEPS, True), (replace(STEPS, **changes), False)):
        run = opened(digits, recipe, tmp_path)
        assert can_record(run, fresh_state(run)) is expected


def test_generators_and_several_processes_are_not_recorded(digits: Dataset, tmp_path: Path) -> None:
    run = opened(digits, STEPS, tmp_path)
    assert not can_record(replace(run, group=Group(world=2)), fresh_state(run))
    generate = replace(RECIPES["generate-8"], iterations=4)
    run = opened(open_dataset("digits", ReadOptions(task="generate")), generate, tmp_path)
    assert not can_record(run, fresh_state(run))


def test_graphs_are_for_small_images_on_cuda(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "CudaRecorder", lambda device: None)
    monkeypatch.setattr(cuda_graphs, "StepGraphs", lambda run, state, recorder: "graphs")
    cuda = replace(FLOAT32, device=torch.device("cuda"))
    found = {}
    for size in (32, 96):
        run = opened(digits, replace(STEPS, model="resnet18", size=size), tmp_path)
        state = fresh_state(run)
        found[size] = step_graphs(run, state), step_graphs(replace(run, hardware=cuda), state)
    assert found == {32: (None, "graphs"), 96: (None, None)}
