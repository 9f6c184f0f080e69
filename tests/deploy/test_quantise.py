"""int8 only through its gate: accepted where nothing is lost, mended where a layer suffers, refused otherwise."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from skipway import bundle, models
from skipway.deploy import engines
from skipway.deploy.engines import openvino_cpu
from skipway.deploy.export import export, formats, quantize
from skipway.deploy.export.export import ExportRequest
from skipway.deploy.export.sensitivity import module_names, noise_over_signal, ranked
from skipway.deploy.predict.predictor import Predictor
from skipway.deploy.sample_images import Samples
from skipway.errors import SkipwayError
from skipway.models import resnext
from skipway.models.resnet import imagenet

from .conftest import CLASSES, as_trained, random_images


def two_layers() -> nn.Sequential:
    """Convolution, ReLU, convolution, head."""
    torch.manual_seed(3)
    first, second = nn.Conv2d(3, 16, 3, 2, padding=1), nn.Conv2d(16, 16, 3, 2, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 8))


def made_hostile(net: nn.Sequential) -> nn.Sequential:
    """The same function: one channel a thousandfold, its inverse in the next layer's weights."""
    with torch.no_grad():
        net[0].weight[0] *= 1000
        net[0].bias[0] = (net[0].bias[0].abs() + 1) * 1000
        net[2].weight[:, 0] /= 1000
    return net


def learnt(net: nn.Sequential, images: Tensor, labels: Tensor) -> nn.Sequential:
    """`net` with a head fitted to `labels` by ridge regression."""
    with torch.no_grad():
        seen = net[:-1](as_trained(net).preprocessing.normalised(images))
        seen = torch.cat([seen / seen.std(), torch.ones(len(seen), 1)], 1)
        wanted = nn.functional.one_hot(labels, 8).float()
        fitted = torch.linalg.solve(seen.T @ seen + torch.eye(seen.shape[1]), seen.T @ wanted)
        net[-1].weight.copy_(fitted[:-1].T / net[:-1](as_trained(net).preprocessing.normalised(images)).std())
        net[-1].bias.copy_(fitted[-1])
    return net.eval()


def coloured(each: int, seed: int) -> Samples:
    """Eight classes, one a corner of the colour cube, under noise: easy to tell apart."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(8).repeat(each)
    corners = torch.stack([labels & 1, labels >> 1 & 1, labels >> 2 & 1], 1).view(-1, 3, 1, 1)
    noise = torch.randint(-30, 30, (len(labels), 3, 32, 32), generator=rng)
    return Samples(((60 + 130 * corners + noise).to(torch.uint8),), labels, f"images of seed {seed}")


@pytest.fixture(scope="module")
def images() -> tuple[Samples, Samples]:
    return coloured(2, 0), coloured(8, 1)


def outcome(
    net: nn.Sequential, images: tuple[Samples, Samples], max_drop: float
) -> tuple[quantize.QuantizationResult, list[str]]:
    assert images[1].targets is not None
    trained = as_trained(learnt(net, *images[1].inputs, images[1].targets))
    said: list[str] = []

    def made(graph) -> engines.Engine:
        return openvino_cpu.engine_of(graph, trained, {"precision": "int8", "batch": 8, "streams": 1}, "int8")

    reference = engines.build("eager", trained)
    return quantize.quantize(trained, images, max_drop, reference, made, said.append)[1], said


def test_a_network_that_int8_suits_is_taken_whole(images: tuple[Samples, Samples]) -> None:
    found, said = outcome(two_layers(), images, max_drop=5)
    assert found.higher == ()
    assert found.layers == 3
    assert found.drop <= 5
    assert len(said) == 1


def test_a_channel_scaled_a_thousandfold_is_caught_and_its_layer_keeps_a_higher_precision(
    images: tuple[Samples, Samples],
) -> None:
    found, said = outcome(made_hostile(two_layers()), images, max_drop=5)
    assert "every layer in int8" in said[0]
    assert "2" in found.higher  # the layer that reads the channel, by its name in the network
    assert found.drop <= 5 < float(said[0].split(":")[1].split()[0])


def test_a_drop_that_no_mixture_avoids_is_refused(
    images: tuple[Samples, Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    another = formats.openvino_graph(as_trained(two_layers()))  # whose head has learnt nothing
    monkeypatch.setattr(quantize, "in_int8", lambda graph, images, higher: another)
    with pytest.raises(SkipwayError, match=r"int8 refused: .* points lost, at most 0.5 allowed"):
        outcome(two_layers(), images, max_drop=0.5)


@pytest.mark.parametrize("needed", [0, 1, 2, 3, 5, 8, 11, 16])
def test_as_few_layers_as_will_do_keep_a_higher_precision(needed: int) -> None:
    def attempt(count: int) -> tuple[int, quantize.QuantizationResult]:
        drop = 9.0 if count < needed else 0.1
        return count, quantize.QuantizationResult(0.9, 0.9 - drop / 100, drop, 0.5, ("x",) * count, 20, "a", "b")

    assert quantize.fewest(attempt, 20)[0] == needed


def test_noise_is_what_rounding_the_input_does_to_the_output() -> None:
    """Against a convolution of the rounded input, its channels being independent as the formula takes them."""
    torch.manual_seed(0)
    scale = torch.tensor([100.0, 1.0, 0.1, 5.0]).view(1, 4, 1, 1)
    x, conv = torch.randn(64, 4, 16, 16) * scale, nn.Conv2d(4, 32, 1, bias=False)
    step = (x.max() - x.min()) / 255
    with torch.no_grad():
        noise = (conv((x / step).round() * step) - conv(x)).square().sum() / conv(x).square().sum()
    weights = conv.weight.detach().square().sum((0, 2, 3)).double().numpy()
    assert noise_over_signal(x.numpy(), weights) == pytest.approx(noise.item(), rel=0.1)
    assert noise_over_signal(np.zeros((2, 4, 3, 3)), weights) == 0


def test_layers_that_read_one_map_are_ranked_each_and_called_by_their_names() -> None:
    """A bottleneck's first convolution and its shortcut's read the same map; groups are told from plain ones."""
    torch.manual_seed(0)
    trained = as_trained(imagenet(resnext.bottleneck(32, 4), 4, (1, 1, 1, 1))(classes=8))
    graph = formats.openvino_graph(trained)
    order, names = ranked(graph, random_images(2)), module_names(graph, trained.net)
    known = {name for name, m in trained.net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert len(order) == len(set(order)) == len(known)
    assert set(names.values()) == known


def test_int8_needs_labelled_images(run: Path, tmp_path: Path) -> None:
    with pytest.raises(SkipwayError, match="--data"):
        export.export(run, ExportRequest("openvino", tmp_path / "out", max_drop=0.5))


def test_an_accepted_export_is_an_engine_of_the_run(make_run, tmp_path: Path, make_photos) -> None:
    net = models.build("resnet20", classes=len(CLASSES)).eval()
    folder = make_run(tmp_path / "run", net)
    data = make_photos(tmp_path / "data", classes=CLASSES, each=2)
    done = export.export(folder, ExportRequest("openvino", data=str(data), max_drop=100.0))
    assert done.folder == folder / "exports" / "openvino-int8"
    assert done.evidence["int8"]["judged_on"].startswith("8 images of train")  # the other 8 calibrated
    files = sorted(data.rglob("*.jpg"))
    predictor = Predictor(folder, engine="int8")
    assert predictor.engine.precision == "int8"
    assert not any(answer.error for answer in predictor.predict(files))
    found = formats.run_openvino(done.folder)(random_images(3))
    assert list(found) == ["scores", "probabilities"]
    torch.testing.assert_close(found["probabilities"], found["scores"].softmax(1), atol=1e-5, rtol=0)
    other = make_run(tmp_path / "other")
    (other / "exports").mkdir()
    done.folder.rename(other / "exports" / "openvino-int8")
    with pytest.raises(bundle.BundleError, match="other weights"):
        Predictor(other, engine="int8")
