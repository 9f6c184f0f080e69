"""FID and KID, by torch-fidelity, which computes them as their authors did.

Heusel et al.: GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium. arXiv:1706.08500.
Bińkowski et al.: Demystifying MMD GANs. arXiv:1801.01401.

The Inception network's weights have to be given; nothing is downloaded. Only with those of STANDARD are the figures
comparable with published ones. FID of fewer than some ten thousand images is biased upwards, and of fewer than 2,048
the covariance is singular: publish it with the number of images.
"""

import pickle
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from skipway.data.decode import WHITE
from skipway.download import digest
from skipway.errors import SkipwayError, refuse_if
from skipway.tasks.generate.classifier_features import with_channels

STANDARD = "6726825d"  # the first digits of the SHA-256 of torch-fidelity's weights-inception-2015-12-05-6726825d.pth
SUBSET_SIZE = 1000  # images in a subset for KID
BATCH = 64  # images


class InceptionDistances(NamedTuple):
    """fid; kid: mean over 100 subsets of `subset_size` images of each set; kid_deviation: over the subsets; samples,
    real: numbers of images; checksum: SHA-256 of the weights' file; standard: whether these are STANDARD."""

    fid: float
    kid: float
    kid_deviation: float
    subset_size: int
    samples: int
    real: int
    checksum: str
    standard: bool


class ColourImages(Dataset[Tensor]):
    """Images uint8 (n, C, H, W) as colour, each uint8 (3, H, W); transparent pixels are white."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return with_channels(self.images[index : index + 1], 3, WHITE)[0]


def require_weights(weights: Path) -> None:
    """Raises SkipwayError unless the file is a state dict of an Inception network, read without executing code in it,
    as torch-fidelity would."""
    refuse_if(not weights.is_file(), f"{weights} does not exist", "give the file of the Inception weights")
    try:
        found = torch.load(weights, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError, KeyError):
        found = None
    fits = isinstance(found, dict) and "Mixed_7c.branch1x1.conv.weight" in found and "fc.weight" in found
    source = f"weights-inception-2015-12-05-{STANDARD}.pth of torch-fidelity's releases"
    refuse_if(not fits, f"{weights} does not hold the Inception network's weights", f"give {source}")


def inception_distances(samples: Tensor, real: Tensor, weights: Path, device: torch.device) -> InceptionDistances:
    """FID and KID of samples (n, C, H, W) and real images (m, C, H, W), uint8, with the Inception weights in a file.

    KID's subsets have SUBSET_SIZE images, or all of the smaller set if it has fewer. Raises SkipwayError for fewer than
    two images, a device that is neither a CPU nor CUDA's, a file that does not hold such weights, and where
    torch-fidelity is missing.
    """
    few = min(len(samples), len(real))
    refuse_if(few < 2, f"{few} images are too few for FID", "it needs two or more samples and real images")
    refuse_if(device.type not in ("cpu", "cuda"), f"torch-fidelity does not run on {device.type}", "use the CPU")
    try:
        from torch_fidelity import calculate_metrics
    except ImportError:
        raise SkipwayError("FID needs torch-fidelity, which is missing: pip install 'skipway[fid]'") from None
    require_weights(weights)
    size = min(SUBSET_SIZE, few)
    found = calculate_metrics(
        input1=ColourImages(samples.cpu()),
        input2=ColourImages(real.cpu()),
        fid=True,
        kid=True,
        kid_subset_size=size,
        feature_extractor_weights_path=str(weights),
        batch_size=BATCH,
        cuda=device.type == "cuda",
        save_cpu_ram=True,  # no worker processes
        cache=False,
        verbose=False,
    )
    fid, kid, deviation = (
        found[key]
        for key in ("frechet_inception_distance", "kernel_inception_distance_mean", "kernel_inception_distance_std")
    )
    checksum = digest(weights, "sha256")
    return InceptionDistances(
        fid, kid, deviation, size, len(samples), len(real), checksum, checksum.startswith(STANDARD)
    )
