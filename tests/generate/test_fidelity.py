"""FID and KID by torch-fidelity, with an Inception network of random weights in a file."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from skipway.download import digest
from skipway.errors import SkipwayError
from skipway.tasks.generate.fidelity import ColourImages, InceptionDistances, inception_distances, require_weights
from skipway.tasks.generate.frechet import frechet_distance, squared_mmd

CPU = torch.device("cpu")


def images(n: int, seed: int, channels: int = 3) -> Tensor:
    """Noise whose brightness and contrast differ between images, and a little between seeds."""
    generator = torch.Generator().manual_seed(seed)
    level = 60 + 100 * torch.rand(n, channels, 1, 1, generator=generator)
    noise = torch.randn(n, channels, 16, 16, generator=generator) * (10 + 20 * seed)
    return (level + noise).clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict under torch-fidelity's names: its own network, built with `load_state_dict` left out."""
    extractor = pytest.importorskip(
        "torch_fidelity.feature_extractor_inceptionv3", reason="torch-fidelity is not installed"
    ).FeatureExtractorInceptionV3
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save({}, path)

    class Random(extractor):  # type: ignore[misc, valid-type]
        def load_state_dict(self, state_dict: Any) -> None:
            assert not state_dict

    net = Random("random", ["2048"], feature_extractor_weights_path=path)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):  # PyTorch's initialisation would leave nothing of the images at the end
            nn.init.kaiming_normal_(layer.weight)
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def found(weights: Path) -> InceptionDistances:
    """Of 5 and 4 images, without any download. Eigenvalues of 2,048 x 2,048 numbers take seconds: once is enough."""

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a download")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", refused)
        return inception_distances(images(5, 1), images(4, 2), weights, CPU)


def test_the_distances_are_ours_of_the_librarys_features(weights: Path, found: InceptionDistances) -> None:
    """Ours in the 9 directions that these images have at all, as a rotation of the 2,048 changes no distance. KID's
    subsets are all of the smaller set, and parts of the larger one."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    net = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=weights)
    both = net(torch.cat([images(5, 1), images(4, 2)]))[0].double().numpy()
    samples, real = both[:5], both[5:]
    directions = np.linalg.qr(both.T)[0]
    assert found.fid == pytest.approx(frechet_distance(samples @ directions, real @ directions), rel=1e-6)
    assert found.fid > 0.01
    rng = np.random.default_rng(0)
    parts = [squared_mmd(samples[rng.choice(5, 4, replace=False)], real) for _ in range(100)]
    assert found.kid == pytest.approx(np.mean(parts), abs=6 * np.std(parts) / 10)
    assert found.kid_deviation == pytest.approx(np.std(parts), rel=0.5)


def test_the_numbers_of_images_and_the_weights_are_named(weights: Path, found: InceptionDistances) -> None:
    assert (found.samples, found.real, found.subset_size) == (5, 4, 4)
    assert found.checksum == digest(weights, "sha256")
    assert not found.standard, "random weights are not those of published figures"


def test_grey_and_transparent_images_are_measured_as_colour() -> None:
    grey = images(3, 1, channels=1)
    assert len(ColourImages(grey)) == 3
    assert (ColourImages(grey)[2] == grey[2].repeat(3, 1, 1)).all()
    clear = torch.zeros(1, 4, 5, 5, dtype=torch.uint8)
    assert (ColourImages(clear)[0] == 255).all() and ColourImages(clear)[0].shape == (3, 5, 5)


class Harmful:
    """An object that runs code when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_other_files_are_refused_and_no_code_in_them_is_run(tmp_path: Path) -> None:
    """torch-fidelity itself would run it."""
    marker, file = tmp_path / "marker", tmp_path / "file.pth"
    for content in ({"weight": torch.zeros(2)}, [1, 2], {"fc.weight": Harmful(marker)}):
        torch.save(content, file)
        with pytest.raises(
            SkipwayError, match=r"file\.pth does not hold the Inception network's weights: give weights-"
        ):
            require_weights(file)
    with pytest.raises(SkipwayError, match=r"missing\.pth does not exist: give the file of the Inception weights"):
        require_weights(tmp_path / "missing.pth")
    for raw in (b"", b"no weights at all", b"\x80\x02}q\x00."):
        file.write_bytes(raw)
        with pytest.raises(SkipwayError, match="does not hold"):
            require_weights(file)
    assert not marker.exists()


def test_without_the_library_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real_import = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("torch_fidelity"):
            raise ImportError(name)
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SkipwayError, match=r"^FID needs torch-fidelity.*pip install 'skipway\[fid\]'$"):
        inception_distances(images(2, 1), images(2, 2), tmp_path, CPU)


def test_too_few_images_and_other_devices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SkipwayError, match="1 images are too few for FID"):
        inception_distances(images(1, 1), images(5, 2), tmp_path, CPU)
    with pytest.raises(SkipwayError, match="does not run on mps: use the CPU"):
        inception_distances(images(2, 1), images(2, 2), tmp_path, torch.device("mps"))
