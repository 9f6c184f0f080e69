"""What only a GPU can show: that the package does the same there. `pytest -m cuda` runs these tests alone."""

import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from small import CPU, EVERY_2, QUIET, Killed, few_digits, losses, same, weights
from torch import Tensor

from skipway import hardware, models
from skipway.data.dataset import Dataset
from skipway.data.preprocess import Preprocessing
from skipway.deploy import engines
from skipway.deploy.engines.base import EngineInput, EngineMissingError
from skipway.hardware import Hardware
from skipway.tasks import Classify
from skipway.training import loop
from skipway.training.cuda_graphs import WARM, CudaRecorder, StepGraphs
from skipway.training.recipes import QUICK, Recipe
from skipway.training.run_manifest import RunOptions
from skipway.training.train_state import TrainRun, TrainState

# torch looks at it once, at the first matrix product of the process, and refuses deterministic ones without it
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.filterwarnings("default"),  # what drivers and compilers warn of depends on the machine
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
RECIPE = replace(QUICK, epochs=2, val_every=2, batch=24, lr=0.02, average=0.9)  # 22 steps
DETERMINISTIC = RunOptions(deterministic=True)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return few_digits()


@pytest.fixture
def exact() -> Iterator[Hardware]:
    """Float32 without TF32, so that a GPU multiplies as a CPU does."""
    with warnings.catch_warnings():  # of newer settings, which say the same
        warnings.simplefilter("ignore")
        before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False  # of matrix products it is off already
        yield hardware.decide("cuda", precision="float32", compile_="off", workers=0)
        torch.backends.cudnn.allow_tf32 = before


def trained(digits: Dataset, recipe: Recipe, out: Path, on: Hardware, graphs: bool = True, **options: Any) -> Path:
    """A run on `on`. With `graphs`, on a GPU, its steps must have been recorded, or nothing would be compared."""
    recorded: list[Any] = []
    record = CudaRecorder.record

    def counted(recorder: CudaRecorder, work: Any) -> Any:
        replay = record(recorder, work)
        recorded.append(replay)
        return replay

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CudaRecorder, "record", counted)
        if not graphs:
            patch.setattr(loop, "step_graphs", lambda run, state: None)
        run = loop.train(digits, recipe, out, on, QUIET, **options)
    steps = recipe.iterations or recipe.epochs * (len(digits.train) // recipe.batch)
    assert bool(recorded) == (graphs and on.device.type == "cuda" and steps > WARM)
    return run


def test_a_first_step_is_the_cpus_within_rounding(digits: Dataset, tmp_path: Path, exact: Hardware) -> None:
    """Every image once, uncropped: the numbers that augmentation draws on a GPU are other ones."""
    recipe = replace(RECIPE, epochs=0, iterations=1, crop="none", average=0.0, warmup=0.0, schedule="step")
    cpu = replace(CPU, dtype=torch.float32)
    found = weights(trained(digits, recipe, tmp_path / "cuda", exact))
    expected = weights(trained(digits, recipe, tmp_path / "cpu", cpu))
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name].cpu(), value, rtol=1e-3, atol=1e-4, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize(
    "changes",
    [{}, {"optimiser": "adamw", "lr": 2e-3, "clip": 0.5}, {"survival": 0.5, "small": 6, "small_epochs": 1}],
    ids=["sgd", "adamw and clip", "stochastic depth and small crops"],
)
def test_replayed_steps_give_the_weights_of_steps_taken_kernel_by_kernel(
    changes: dict[str, Any], digits: Dataset, tmp_path: Path, exact: Hardware
) -> None:
    recipe = replace(RECIPE, **changes)
    eager = trained(digits, recipe, tmp_path / "eager", exact, graphs=False, options=DETERMINISTIC)
    graphs = trained(digits, recipe, tmp_path / "graphs", exact, options=DETERMINISTIC)
    for name, value in weights(eager).items():
        torch.testing.assert_close(
            weights(graphs)[name], value, rtol=1e-4, atol=1e-5, msg=lambda t, n=name: f"{n}: {t}"
        )
    assert losses(graphs) == pytest.approx(losses(eager), rel=1e-4)


def test_small_networks_are_recorded_without_being_asked(
    digits: Dataset, tmp_path: Path, exact: Hardware, capsys: pytest.CaptureFixture
) -> None:
    loop.train(digits, RECIPE, tmp_path / "run", exact, Console(width=160))
    said = capsys.readouterr().out
    assert "steps are recorded as CUDA graphs" in said
    assert "cannot be recorded" not in said


def test_a_run_killed_between_replays_ends_with_the_same_weights(
    digits: Dataset, tmp_path: Path, exact: Hardware
) -> None:
    whole = trained(digits, RECIPE, tmp_path / "whole", exact, options=DETERMINISTIC)
    train_step, out = StepGraphs.train_step, tmp_path / "run"

    def watched(graphs: StepGraphs, run: TrainRun, state: TrainState, *batch: Any, **options: Any) -> Tensor | None:
        if state.step == 13:
            raise Killed
        return train_step(graphs, run, state, *batch, **options)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(StepGraphs, "train_step", watched)
        loop.train(digits, RECIPE, out, exact, QUIET, options=replace(EVERY_2, deterministic=True))
    resumed = trained(digits, RECIPE, out, exact, resume=True, options=DETERMINISTIC)
    assert same(weights(resumed), weights(whole))


def test_bfloat16_learns_as_float32_does(digits: Dataset, tmp_path: Path, exact: Hardware) -> None:
    recipe = replace(RECIPE, epochs=12)
    half = trained(digits, recipe, tmp_path / "half", replace(exact, dtype=torch.bfloat16))
    full = trained(digits, recipe, tmp_path / "full", exact)
    assert losses(half)[-1] == pytest.approx(losses(full)[-1], rel=0.1)
    assert losses(half)[-1] < 0.8 * losses(half)[0]


def test_a_recording_draws_anew_at_each_replay() -> None:
    noise = torch.zeros(1000, device="cuda")

    def work() -> tuple[Tensor, None]:
        noise.bernoulli_(0.5)
        return noise.sum(), None

    work()
    torch.manual_seed(1)
    replay, drawn = CudaRecorder(torch.device("cuda")).record(work), []
    for _ in range(2):
        replay()
        drawn.append(noise.clone())
    assert not torch.equal(*drawn)
    torch.manual_seed(1)
    replay()
    assert torch.equal(noise, drawn[0]), "of the same seed the same numbers"


@pytest.mark.parametrize("name", ["folded", "cuda-graphs", "compile"])
def test_engines_agree_with_eager(name: str, exact: Hardware) -> None:
    torch.manual_seed(0)
    net = exact.place(models.build("resnet20", classes=8)).eval()
    shown = Preprocessing(3, 32, 32, (0.5,) * 3, (0.25,) * 3)
    given = EngineInput(net, Classify(tuple("abcdefgh")), shown, exact)
    images = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8)
    expected = engines.build("eager", given).scores(images)
    for precision, allowed in (("float32", 1e-3), ("bfloat16", 0.1)):
        try:
            engine = engines.build(name, given, {"precision": precision})
        except EngineMissingError as reason:
            pytest.skip(str(reason))
        torch.testing.assert_close(engine.scores(images).softmax(1), expected.softmax(1), rtol=0, atol=allowed)
