"""Training steps recorded once as CUDA graphs and replayed: nothing is launched kernel by kernel.

A step of a small network is hundreds of kernels of a few microseconds, and starting each from Python takes longer than
running it. A graph holds forward, backward, clipping and the optimisers' update for one shape of a batch, and is
started at once. What depends on numbers of the host stays outside: augmentation, the schedule, which writes the rate
into a tensor that the optimisers read, and averaging, whose decay follows from the count of steps. Dropout draws anew
at each replay, as torch's generator is advanced by what the graph draws.

Equal to steps taken kernel by kernel: the same kernels run in the same order. So resuming is as exact as without.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from skipway import models
from skipway.data.loader import Batch
from skipway.data.targets import map_labels
from skipway.errors import first_line
from skipway.training.muon import ConvolutionMuon
from skipway.training.step import (
    finish_step,
    forward_backward,
    keep_loss,
    random_for,
    rate_of,
    take_step,
    update_weights,
)
from skipway.training.train_state import TrainRun, TrainState

WARM = 3  # steps of a shape before it is recorded, in which the libraries choose their kernels and allocate
# they read their rate from a tensor on the device: SGD and AdamW because they are fused
RECORDABLE = (torch.optim.SGD, torch.optim.AdamW, ConvolutionMuon)
Outputs = tuple[Tensor, Tensor | None]  # of a step: the loss, and the task's counts
Shape = tuple[tuple[tuple[torch.Size, torch.dtype], ...], bool]  # of a batch's tensors; whether there are counts


class Recorder(Protocol):
    """What records the work of a device. Replacing it is how tests run without a GPU."""

    def beside(self) -> AbstractContextManager[None]:
        """A context whose work is done where recordings are made, between what came before and what follows."""

    def record(self, work: Callable[[], Outputs]) -> Callable[[], Outputs]:
        """Record `work` without doing it. Returns a function that does it and returns the recorded outputs, which the
        next call overwrites. Raises RuntimeError for work that cannot be recorded."""


class CudaRecorder:
    """Records on a stream of its own, as CUDA demands; steps before a recording run there too, so that no node of
    autograd belongs to another stream."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)

    @contextmanager
    def beside(self) -> Iterator[None]:
        around = torch.cuda.current_stream()
        self.stream.wait_stream(around)
        with torch.cuda.stream(self.stream):
            yield
        around.wait_stream(self.stream)

    def record(self, work: Callable[[], Outputs]) -> Callable[[], Outputs]:
        graph = torch.cuda.CUDAGraph()
        recording = torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local")
        # thread_local: threads that decode images or write checkpoints may allocate meanwhile; the outer context
        # returns to the current stream, which torch does not where recording fails
        with torch.cuda.stream(torch.cuda.current_stream()), recording:
            outputs = work()

        def replay() -> Outputs:
            graph.replay()
            return outputs

        return replay


@dataclass(frozen=True)
class Recording:
    """A recorded step: the batch in the memory that it reads, and what replays it."""

    batch: Batch
    replay: Callable[[], Outputs]


class StepGraphs:
    """Takes the steps of a run, by replaying the recording of the batch's shape. The first WARM steps of a shape are
    taken kernel by kernel, as are all where memory ran out or a recording failed."""

    def __init__(self, run: TrainRun, state: TrainState, recorder: Recorder) -> None:
        self.recorder, self.refused = recorder, False
        self.seen: Counter[Shape] = Counter()
        self.recordings: dict[Shape, Recording] = {}
        device = run.hardware.device
        dtype = torch.float32 if device.type == "cuda" else torch.float64  # as fused optimisers read it there
        for optimiser in state.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = torch.zeros((), dtype=dtype, device=device)

    def train_step(self, run: TrainRun, state: TrainState, batch: Batch, counted: bool) -> Tensor | None:
        """As `step.train_step`."""
        set_tensor_rates(state.optimisers, rate_of(run, state))
        shape = tuple((given.shape, given.dtype) for given in tensors_of(batch)), counted
        recording = self.recordings.get(shape) or self.record(run, state, batch, counted, shape)
        if recording is None:
            self.seen[shape] += 1
            with self.recorder.beside():
                return take_step(run, state, batch, counted)
        for there, given in zip(tensors_of(recording.batch), tensors_of(batch), strict=True):
            there.copy_(given)
        loss, counts = recording.replay()
        keep_loss(run, state, loss.clone())
        finish_step(state)
        return None if counts is None else counts.clone()

    def record(self, run: TrainRun, state: TrainState, batch: Batch, counted: bool, shape: Shape) -> Recording | None:
        """The recording of a step like this one; None while it is too early, or where it cannot be made."""
        if self.seen[shape] < WARM or state.micro or self.refused:
            return None
        there = Batch(batch.images.clone(), map_labels(torch.clone, batch.targets))

        def work() -> Outputs:
            for optimiser in state.optimisers:
                optimiser.zero_grad(set_to_none=True)
            outputs = forward_backward(run, state, there, counted, 1.0, random_for(run, state))
            update_weights(run, state)
            return outputs

        try:
            with capturable(state.optimisers):
                self.recordings[shape] = Recording(there, self.recorder.record(work))
        except RuntimeError as error:
            self.refused = True
            text = f"steps cannot be recorded as a CUDA graph ({first_line(error)}): they are taken kernel by kernel"
            run.console.print(text, soft_wrap=True, markup=False)
        return self.recordings.get(shape)


def tensors_of(batch: Batch) -> list[Tensor]:
    """The batch's images and targets."""
    return [batch.images, *([batch.targets] if isinstance(batch.targets, Tensor) else batch.targets)]


def set_tensor_rates(optimisers: Sequence[torch.optim.Optimizer], rate: float) -> None:
    """As `optimiser.set_rate`, into the tensors that the groups have as their rates."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"].fill_(rate * group["scale"])


@contextmanager
def capturable(optimisers: Sequence[torch.optim.Optimizer]) -> Iterator[None]:
    """Mark Adam's groups as `capturable`, without which it refuses to be recorded; fused, it computes the same."""
    groups = [group for optimiser in optimisers for group in optimiser.param_groups if "capturable" in group]
    before = [group["capturable"] for group in groups]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group, value in zip(groups, before, strict=True):
            group["capturable"] = value


def can_record(run: TrainRun, state: TrainState) -> bool:
    """Whether a step of the run is always the same kernels, which no number of the host changes.

    A generator's loss draws numbers from generators of its own, and tasks whose targets follow an image's crop select
    by value.
    """
    recipe, task = run.setup.recipe, run.setup.task
    alone = run.group.world == 1 and not recipe.micro and not run.setup.recomputed
    same_parameters = not (recipe.freeze or recipe.only_head or recipe.unfreeze or recipe.freeze_norm_epochs)
    optimisers = all(type(optimiser) in RECORDABLE for optimiser in state.optimisers)
    one_network = task.in_memory and not task.generates and not run.setup.teacher
    return alone and same_parameters and optimisers and one_network


def step_graphs(run: TrainRun, state: TrainState) -> StepGraphs | None:
    """What records the steps of a run, on CUDA, where they are small and always the same kernels; otherwise None."""
    small = run.setup.preprocessing.size <= models.SMALL
    if run.hardware.device.type != "cuda" or not small or not can_record(run, state):
        return None
    run.console.print("steps are recorded as CUDA graphs and replayed", soft_wrap=True)
    return StepGraphs(run, state, CudaRecorder(run.hardware.device))
