"""Every engine gives the velocity that the network gives, for all of its inputs, and samples follow."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from generated import as_trained, inputs_for, untrained, write_run
from torch import Tensor, nn

from skipway import bundle
from skipway.deploy import engines
from skipway.deploy.engines import eager, selection
from skipway.deploy.engines.base import Engine, EngineInput, EngineKind, EngineMissingError, Options, run_synchronously
from skipway.deploy.export import formats
from skipway.deploy.predict.predictor import Predictor
from skipway.deploy.sample_images import at_hand
from skipway.errors import DataError, SkipwayError
from skipway.hardware import decide
from skipway.tasks.generate.sampler import Sampler, SamplingOptions
from skipway.trained import TrainedModel

FLOAT32 = {"precision": "float32"}
CASES: list[tuple[str, Options, float]] = [  # with the largest difference of a velocity
    ("eager", {}, 1e-5),
    ("folded", FLOAT32, 1e-4),
    ("folded", {"precision": "bfloat16"}, 0.05),
    ("onnxruntime", {"batch": 4}, 1e-4),
    ("openvino", {**FLOAT32, "batch": 3, "streams": 2}, 1e-4),
]


def sampled(velocity: Callable[..., Tensor]) -> Tensor:
    """Four small samples, each of a class or of none, with guidance."""
    with torch.inference_mode():
        sampler = Sampler(velocity, 3, (1, 8, 8), torch.device("cpu"), batch=4)
        return sampler.sample([0, 1, 2, None], 5, SamplingOptions(steps=5, guidance=2.0))


@pytest.mark.parametrize(("engine", "options", "allowed"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_an_engine_gives_the_networks_velocity_and_samples(engine: str, options: Options, allowed: float) -> None:
    """Of images of every class and of none, at different times."""
    net = untrained(3)
    trained = as_trained(net)
    inputs = inputs_for(trained, 7)
    built = engines.build(engine, trained, options)
    with torch.inference_mode():
        expected = net(*inputs)
    [velocity] = built.outputs(*inputs)
    assert velocity.dtype == torch.float32
    torch.testing.assert_close(velocity, expected, atol=allowed, rtol=0)
    torch.testing.assert_close(sampled(lambda *given: built.outputs(*given)[0]), sampled(net), atol=allowed, rtol=0)


@pytest.mark.parametrize(("engine", "options"), [CASES[1][:2], CASES[4][:2]])
def test_an_engine_takes_no_labels_without_classes(engine: str, options: Options) -> None:
    """Of images in colour, not square, and of odd sides."""
    net = untrained(0, 3)
    trained = as_trained(net, (9, 6))
    noise, times = inputs_for(trained, 4)
    with torch.inference_mode():
        expected = net(noise, times)
    torch.testing.assert_close(
        engines.build(engine, trained, options).scores(noise, times), expected, atol=1e-4, rtol=0
    )


class Echo(nn.Module):
    """A velocity that says the image's time and label; a convolution by 0 runs in the engine's precision."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.conv(x).float() + (1000 * t + y)[:, None, None, None]


@pytest.mark.parametrize("engine", ["folded", "onnxruntime", "openvino"])
def test_times_and_labels_are_not_rounded_in_bfloat16(engine: str) -> None:
    """bfloat16 has neither 257 nor 777.1: both would be 0.5 off or more."""
    trained = replace(as_trained(untrained(3)), net=Echo())
    noise, times, labels = torch.randn(2, 1, 8, 8), torch.tensor([0.7771, 0.0013]), torch.tensor([257, 513])
    options = {"batch": 2} if engine == "onnxruntime" else {"precision": "bfloat16", "batch": 2, "streams": 1}
    [velocity] = engines.build(engine, trained, options).outputs(noise, times, labels)
    expected = (1000 * times + labels)[:, None, None, None].expand_as(noise)
    torch.testing.assert_close(velocity, expected, atol=1e-3, rtol=0)


def test_int8_is_not_offered_for_a_network_that_takes_no_images() -> None:
    with pytest.raises(EngineMissingError, match="int8 is for networks that take images, which those of generate do"):
        engines.build("int8", as_trained(untrained(3)))


def off_by(difference: float, name: str) -> EngineKind:
    """Eager, with `difference` added to the velocity."""

    def build(trained: EngineInput, options: Options) -> Engine:
        true = eager.build(trained, options)
        submit = run_synchronously(lambda *inputs: true.submit(*inputs).result()[0] + difference)
        return replace(true, name=name, submit=submit)

    return EngineKind(build, lambda trained: [{}])


def test_auto_takes_the_fastest_engine_whose_velocity_agrees_and_remembers_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKIPWAY_CACHE", str(tmp_path / "cache"))
    kinds = {"eager": eager.KIND, "close": off_by(1e-5, "close"), "off": off_by(0.5, "off")}
    monkeypatch.setattr(selection, "ENGINES", kinds)
    monkeypatch.setattr(engines, "ENGINES", kinds)
    speeds = iter([10.0, 20.0, 99.0])
    monkeypatch.setattr(selection, "measure_speed", lambda engine, inputs, seconds: (next(speeds), 1.0))
    model = TrainedModel.load(write_run(tmp_path / "run", untrained(3)), decide("cpu"))
    said: list[str] = []

    def opened() -> Engine:
        hardware = decide("cpu")
        return selection.open_engine(
            "auto", model, hardware, "throughput", lambda: at_hand(model.card, (), None, 16), said.append
        )

    assert opened().name == "close"
    assert "16 images of noise" in said[0]
    assert any("off: 99.0 images/s" in line and "disagrees" in line for line in said)
    assert opened().name == "close", "no speed is left to measure"


def test_openvino_gets_no_group_normalisation_that_is_multiplied_afterwards() -> None:
    """It would end the process in float32 (OpenVINO 2026.4); norms of other networks stay as they are."""

    def norms(net: nn.Module) -> int:
        graph = formats.openvino_graph(replace(as_trained(untrained(3)), net=net))
        return sum(op.get_type_name() == "GroupNormalization" for op in graph.get_ops())

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4)

        def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            return self.norm(self.conv(x)).relu() + t[:, None, None, None] + y[:, None, None, None]

    assert norms(untrained(3)) == 0
    assert norms(Plain()) == 1


def test_a_generator_predicts_nothing_and_is_proven_on_no_images(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", untrained(3))
    with pytest.raises(SkipwayError, match="use `skipway generate`") as refused:
        Predictor(run, decide("cpu"))
    assert "\n" not in str(refused.value)
    with pytest.raises(DataError, match="a network of the task generate takes no images: leave out images and data"):
        at_hand(bundle.read_card(run), (), "digits", 4)
