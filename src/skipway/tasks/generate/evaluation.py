"""Everything measured of a generator on a split: held-out loss, and its samples beside the images of the split.

Samples and images are compared at equal numbers, in the features of a named classifier. The same distance between
training images and those of the split says what a perfect generator would reach with so many images.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from skipway.data.dataset import Split
from skipway.data.loader import decode_all
from skipway.data.preprocess import Preprocessing
from skipway.errors import refuse_if
from skipway.tasks.base import Outputs, SplitOutputs
from skipway.tasks.generate.classifier_features import ClassifierFeatures
from skipway.tasks.generate.copies import NearestTraining, nearest_training
from skipway.tasks.generate.fidelity import inception_distances
from skipway.tasks.generate.frechet import frechet_distance, kernel_distance
from skipway.tasks.generate.likelihood import EXACT_DIMENSIONS, PROBES, bits_per_dimension, likelihood_cost
from skipway.tasks.generate.manifold import NEIGHBOURS, manifold_measures
from skipway.tasks.generate.sample_evaluation import FEWEST, SampleEvaluation
from skipway.tasks.generate.sampler import Sampler, SamplingOptions, to_uint8

Losses = Callable[[Split], Outputs]  # of each image of a split, one tensor (n,)
SEED = 0  # of the samples
MOST_TRAINING = 60_000  # training images among which the nearest are looked for
FRAMES = 6  # of the paths from noise to image that are shown
SHOWN = 10  # paths, and classes of the grid
PER_CLASS = 10  # samples of a class in the grid
LONGEST = 3600  # seconds that likelihoods may take


@dataclass(frozen=True)
class Trajectories:
    """Paths from noise to image: times (frames,), and the denoised images uint8 (frames, n, C, H, W) at each."""

    times: tuple[float, ...]
    images: np.ndarray


@dataclass(frozen=True, repr=False)
class GenerateEvaluation:
    """The results on a split. Shares are of 1.

    metrics, of which those that could not be measured are missing: n, velocity_loss, train_velocity_loss, samples,
    evaluations (of the network for a sample), features, frechet_distance, frechet_floor (of training images),
    kernel_distance, precision, recall, density, coverage, class_accuracy and image_class_accuracy (of the images of the
    split), copies and image_copies, fid, kid; bits_per_dimension of bits_images images of the split given their
    classes, bits_low and bits_high, its 95 % interval, and bits_probes, 0 where the divergence was exact.

    samples: uint8 (m, C, H, W), of `labels` (m,), -1 without classes; grid: uint8, PER_CLASS of each of the first SHOWN
    classes; images: those of the split that samples are compared with; nearest: of the samples; training: the images
    that `nearest` counts; None where the network was trained on other data.
    """

    scored: SplitOutputs
    metrics: dict[str, Any]
    samples: np.ndarray
    labels: np.ndarray
    grid: np.ndarray
    images: np.ndarray
    nearest: NearestTraining | None
    training: Tensor | None
    trajectories: Trajectories

    def _repr_html_(self) -> str:
        from skipway.reporting import notebook

        figure = f"loss {self.metrics['velocity_loss']:.4f}"
        return notebook.evaluation(self.scored.data, self.scored.split, figure, self.metrics)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.scored.classes


def measure(
    scored: SplitOutputs, options: SampleEvaluation, sampler: Sampler, preprocessing: Preprocessing, losses: Losses
) -> GenerateEvaluation:
    """The results on a split, whose outputs are the losses of its images; losses: of others. Of few images, no
    distances."""
    count = options.count(len(scored.images), sampler.device)
    chosen = spread(scored.images, count)
    labels = chosen.labels if scored.classes else np.full(count, -1)
    sampling = SamplingOptions()
    bits = likelihood(scored, options, sampler, preprocessing)
    samples = draw(sampler, labels, sampling)
    images = decode_all(chosen, preprocessing)
    training = None if scored.train is None else decode_all(spread(scored.train, MOST_TRAINING), preprocessing)
    metrics: dict[str, Any] = {
        "n": len(scored.images),
        "velocity_loss": float(scored.scores.double().mean()),
        "train_velocity_loss": train_loss(scored, losses),
        "samples": count,
        "evaluations": sampling.evaluations,
        **bits,
    }
    classifier = options.classifier or ClassifierFeatures.embedded(sampler.device)
    fake, real = classifier.outputs(samples), classifier.outputs(images)
    if count >= FEWEST:
        metrics |= distances(classifier, fake.features, real.features, training)
    if options.classifier is not None and scored.classes:
        asked = labels.tolist()
        metrics["class_accuracy"] = classifier.accuracy(fake.probabilities, asked, scored.classes)
        metrics["image_class_accuracy"] = classifier.accuracy(real.probabilities, asked, scored.classes)
    several = training is not None and len(training) > 1
    nearest = nearest_training(samples, training) if several and training is not None else None
    if nearest is not None and training is not None:
        metrics |= {"copies": nearest.share, "image_copies": nearest_training(images, training).share}
    if options.inception is not None:
        reference = images if training is None else training
        found = inception_distances(samples, reference, options.inception, sampler.device)
        metrics |= {"fid": found.fid, "kid": found.kid, "fid_standard": found.standard, "fid_real": found.real}
    grid, trajectories = pictures(sampler, len(scored.classes))
    return GenerateEvaluation(
        scored, metrics, samples.numpy(), labels, grid, images.numpy(), nearest, training, trajectories
    )


def spread(split: Split, most: int) -> Split:
    """At most `most` images of a split, evenly spread."""
    return split.take(np.linspace(0, len(split) - 1, min(most, len(split))).round().astype(int))


def draw(sampler: Sampler, labels: np.ndarray, options: SamplingOptions) -> Tensor:
    """uint8 (n, C, H, W) on the CPU: a sample of each label, of no class where it is -1."""
    return to_uint8(sampler.sample(classes_of(labels), SEED, options))


def classes_of(labels: np.ndarray) -> list[int | None]:
    """`labels` (n,) for a sampler: no class where they are -1."""
    return [int(label) if label >= 0 else None for label in labels]


def likelihood(
    scored: SplitOutputs, options: SampleEvaluation, sampler: Sampler, preprocessing: Preprocessing
) -> dict[str, Any]:
    """Bits per dimension of as many images of the split as `options` ask for, evenly spread over it.

    What it costs is said first. Raises SkipwayError where that is more than LONGEST.
    """
    if not options.likelihood:
        return {}
    chosen = spread(scored.images, options.likelihood)
    labels = classes_of(chosen.labels if scored.classes else np.full(len(chosen), -1))
    sampler = replace(sampler, batch=min(sampler.batch, len(labels)))
    cost = likelihood_cost(sampler, labels)
    images = f"{cost.images:,} image{'s' if cost.images > 1 else ''}"
    takes = f"takes about {cost.seconds / 60:,.1f} min"
    options.say(
        f"the likelihood of {images} {takes}: for each {cost.evaluations} evaluations of the network and "
        f"{cost.gradients:,} gradients"
    )
    advice = f"give at most {cost.images_in(LONGEST):,} images"
    refuse_if(cost.seconds > LONGEST, f"--likelihood {options.likelihood} {takes}", advice)
    found = bits_per_dimension(sampler, decode_all(chosen, preprocessing), labels)
    low, high = found.interval
    probes = 0 if np.prod(sampler.shape) <= EXACT_DIMENSIONS else PROBES
    return {
        "bits_per_dimension": found.mean,
        "bits_low": low,
        "bits_high": high,
        "bits_images": cost.images,
        "bits_probes": probes,
    }


def train_loss(scored: SplitOutputs, losses: Losses) -> float | None:
    """The loss of as many training images as the split has, at the same times and noise; None without them."""
    if scored.train is None:
        return None
    (found,) = losses(spread(scored.train, len(scored.images)))
    return float(found.double().mean())


def distances(
    classifier: ClassifierFeatures, fake: np.ndarray, real: np.ndarray, training: Tensor | None
) -> dict[str, Any]:
    """Distances of the features of samples (n, d) from those of images, and of as many training images."""
    found: dict[str, Any] = {"features": classifier.label, "frechet_distance": frechet_distance(fake, real)}
    if training is not None and len(training) >= len(fake):
        places = np.linspace(0, len(training) - 1, len(fake)).round().astype(int)
        found["frechet_floor"] = frechet_distance(classifier.outputs(training[places]).features, real)
    found["kernel_distance"] = kernel_distance(fake, real).distance
    if len(fake) > NEIGHBOURS:
        found |= manifold_measures(real, fake)._asdict()
    return found


def pictures(sampler: Sampler, classes: int) -> tuple[np.ndarray, Trajectories]:
    """The grid of samples, and paths to one of each class."""
    shown = list(range(min(classes, SHOWN))) if classes else [-1] * SHOWN
    grid = draw(sampler, np.repeat(shown, PER_CLASS), SamplingOptions())
    path = sampler.trajectory(classes_of(np.array(shown)), SEED, SamplingOptions(), FRAMES)
    frames = np.stack([to_uint8(frame.denoised).numpy() for frame in path])
    return grid.numpy(), Trajectories(tuple(frame.time for frame in path), frames)
