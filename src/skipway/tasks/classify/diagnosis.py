"""Signs that a network learnt nothing or never predicts a class, with the likely causes.

An accuracy alone does not show that a network is useless: 62 % may be what always predicting the most frequent class
gives. So an evaluation is compared with predictions that need no network.
"""

import math
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from scipy.stats import norm, poisson

from skipway.data.read_options import ReadOptions
from skipway.reporting.numbers import interval, percent
from skipway.reporting.svg import legible
from skipway.tasks.base import Finding, Records
from skipway.tasks.classify.evaluation import ClassEvaluation
from skipway.tasks.classify.prediction import THRESHOLD

Severity = Literal["error", "warning"]  # error: the network is of no use as it is; warning: to be checked

SHUFFLES = 19  # a figure above those of 19 random permutations is significant at 5 %, one-sided
SIGNIFICANCE = 0.01  # level at which correct predictions exceed those of permuted ones, one-sided
FEW_CLASSES = 20  # up to so many, a class never predicted is always reported; among more, chance leaves some out
LEVEL = 0.05  # level of that test; and the share of many classes from which it is an error
FEW_IMAGES = 5  # of a class in the evaluated split: with fewer, never predicting it is not yet an error
NAMED = 3  # classes named in a sentence; of more, only the number is given
FEW_STEPS = 300
FEW_A_CLASS = 20  # training images
SMALL_SPLIT = 100  # images; with fewer, intervals are wide
STUCK = 0.1  # share of the initial weights in the averaged weights, above which these have hardly moved
# a field of the recipes in cards written since the average has a warm-up, and is never stuck
WITH_WARMUP = "only_head"
FALLEN, LEVELLED = 0.8, 0.98  # of the loss in the first epoch: below the first it fell, above the second it did not
LEARNT = 0.8  # accuracy, or micro F1, on the training images from which they count as learnt


def diagnose(card: Any, records: Records, evaluation: ClassEvaluation) -> list[Finding]:
    """Problems of the network, errors first; none for a network that learnt.

    records: the lines of metrics.jsonl, which show the causes; empty where a bundle has none.
    """
    baseline = not_above_chance(evaluation) if evaluation.several else not_above_constant(evaluation)
    found: list[Finding] = []
    if baseline is not None:
        severity, title, detail = baseline
        why = causes(card, records, evaluation) if severity == "error" else imbalance(evaluation)
        found.append(Finding(severity, title, detail, tuple(why)))
    return sorted([*found, *never_predicted(evaluation)], key=lambda finding: finding.severity)


def not_above_constant(evaluation: ClassEvaluation) -> tuple[Severity, str, str] | None:
    """Severity, title and detail where the accuracy's interval is not above the share of the most frequent class.

    A warning where the predictions depend on the images all the same, as when rare classes are favoured in training.
    None where the accuracy is above it, and where all images are of one class.
    """
    assert evaluation.confusion is not None
    counts, metrics = evaluation.confusion.sum(1), evaluation.metrics
    share = float(counts.max() / counts.sum())
    if share == 1 or metrics["top1_interval"][0] > share:
        return None
    constant = f"always predicting '{legible(evaluation.classes[int(counts.argmax())])}'"
    ends = f"95\u00a0% interval {interval(metrics['top1_interval'])}"
    detail = (
        f"accuracy {percent(metrics['top1'])} ({ends}) on {metrics['n']:,} images; {constant} gives {percent(share)}"
    )
    apart = "is no better than" if metrics["top1"] <= share else "is not significantly better than"
    if depends_on_images(evaluation.confusion):
        title = f"The accuracy {apart} that of {constant}, though the predictions depend on the images"
        return "warning", title, detail
    predicted = np.unique(evaluation.predicted)
    if len(predicted) == 1:
        detail += f"; it predicts '{legible(evaluation.classes[int(predicted[0])])}' for every image"
    return "error", f"The network {apart} {constant}", detail


def depends_on_images(confusion: np.ndarray) -> bool:
    """Whether more predictions are correct than if the same predictions were randomly permuted over the images.

    The number correct would then have a known mean and variance, and be nearly normal.
    """
    n, true, predicted = int(confusion.sum()), confusion.sum(1), confusion.sum(0)
    pairs = true * predicted
    mean = float(pairs.sum() / n)
    variance = (mean**2 + pairs.sum() - (pairs * (true + predicted)).sum() / n) / (n - 1)
    return variance > 0 and bool(norm.sf((np.trace(confusion) - mean) / math.sqrt(variance)) < SIGNIFICANCE)


def not_above_chance(evaluation: ClassEvaluation) -> tuple[Severity, str, str] | None:
    """Severity, title and detail where the mean average precision is no higher than that of constant scores, which is
    the labels' prevalence, or of the network's own scores randomly permuted over the images.

    None where it is higher, and where all images have the same labels.
    """
    labels = evaluation.labels > 0
    labels = labels[:, labels.any(0)]
    if not labels.size or labels.all():
        return None
    constant, found = float(labels.mean()), evaluation.metrics["map"]
    shuffled = max(shuffled_precision(evaluation))
    if found > max(constant, shuffled):
        return None
    detail = (
        f"mean average precision {percent(found)} on {evaluation.metrics['n']:,} images; constant scores give "
        f"{percent(constant)}, and its scores randomly permuted over the images up to {percent(shuffled)}"
    )
    return "error", "The network is no better than chance", detail


def shuffled_precision(evaluation: ClassEvaluation) -> Iterator[float]:
    """The mean average precision of SHUFFLES random permutations of the scores over the images."""
    labels = evaluation.labels > 0
    present = labels.any(0)
    labels, scores = labels[:, present], evaluation.scored.scores.numpy()[:, present]
    order, ranks, rng = np.argsort(-scores, axis=0), np.arange(1, len(labels) + 1)[:, None], np.random.default_rng(0)
    for _ in range(SHUFFLES):
        hits = np.take_along_axis(rng.permutation(labels), order, 0)
        yield float(((hits.cumsum(0) / ranks * hits).sum(0) / hits.sum(0)).mean())


def never_predicted(evaluation: ClassEvaluation) -> Iterator[Finding]:
    """At most one finding: the classes that images have and the network never predicts.

    Among more than FEW_CLASSES only if they are more than chance would leave out. With several labels, the ranking of
    the images may be correct all the same: an error only if no label is ever predicted.
    """
    classes, predicted = evaluation.classes, evaluation.predicted
    predictions = predicted.sum(0) if evaluation.several else np.bincount(predicted, minlength=len(classes))
    counts = np.array([row["n"] for row in evaluation.per_class])
    present, missing = np.flatnonzero(counts), np.flatnonzero((counts > 0) & (predictions == 0))
    many = len(present) > FEW_CLASSES
    # random predictions with the frequencies of the classes leave out a class of n images with probability exp(-n)
    if not len(missing) or (many and len(missing) <= poisson.ppf(1 - LEVEL, np.exp(-counts[present]).sum())):
        return
    severe = len(missing) >= LEVEL * len(present) if many else bool((counts[missing] >= FEW_IMAGES).any())
    if evaluation.several:
        severe = len(missing) == len(present)
    them = "it" if len(missing) == 1 else "them"
    title, count = in_title(classes, missing), int(counts[missing].sum())
    advice = f"too few training images of {them}, or too short a training: add images, or --balance weights or sampler"
    detail = f"there are {count:,} images of {them} among {evaluation.metrics['n']:,}"
    if evaluation.several:
        detail = f"{count:,} of the labels are of {them}, in {evaluation.metrics['n']:,} images"
        threshold = "its threshold" if evaluation.thresholds else percent(THRESHOLD)
        advice = (
            f"no probability of {them} is above {threshold}, while the ranking of images may be correct "
            "(see the average precision): use a lower threshold, or --balance weights"
        )
    yield Finding("error" if severe else "warning", title, detail, (advice,))


def in_title(classes: Sequence[str], missing: np.ndarray) -> str:
    """Classes by name, or for more than NAMED how many they are."""
    if len(missing) > NAMED:
        return f"{len(missing):,} of {len(classes):,} classes are never predicted"
    *others, last = [f"'{legible(classes[i])}'" for i in missing]
    return (
        f"Classes {', '.join(others)} and {last} are never predicted" if others else f"Class {last} is never predicted"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Causes


def causes(card: Any, records: Records, evaluation: ClassEvaluation) -> list[str]:
    """Why a network may have learnt nothing, from card and records, and what to do; the likeliest first."""
    if not evaluation.scored.trained_on:
        return [f"it was trained on {legible(card.data['name'])}: these images or their labels may differ"]
    found = [
        *from_steps(card, records),
        *from_loss(records, evaluation),
        *from_memory(card, records),
        *from_counts(card, evaluation),
    ]
    return found or [
        f"nothing in the record of the training explains it: check that the labels are correct ({check_command(card)})"
    ]


def imbalance(evaluation: ClassEvaluation) -> list[str]:
    """Why the accuracy of a network that learnt something may not show that."""
    balanced = percent(evaluation.metrics["balanced_accuracy"])
    return [
        f"one class is frequent, and others are predicted at its expense: balanced accuracy ({balanced}) and the "
        "recall of each class are more informative here",
        *from_size(evaluation),
    ]


def from_loss(records: Records, evaluation: ClassEvaluation) -> Iterator[str]:
    """The training loss did not fall, and the training images were not learnt either."""
    losses = [record["train_loss"] for record in records if "train_loss" in record]
    if not losses:
        return
    if not math.isfinite(losses[-1]):
        yield "the training loss became NaN or infinite: try a lower --lr"
        return
    chance = math.log(2 if evaluation.several else len(evaluation.classes))
    first = losses[0] if len(losses) > 1 else chance
    if losses[-1] > LEVELLED * first and accuracy_on_train(records) < LEARNT:
        start = "in the first epoch" if len(losses) > 1 else "at chance"
        yield (
            f"the training loss did not fall ({first:.3g} {start}, {losses[-1]:.3g} in the "
            "last): try an --lr ten times lower, or higher"
        )


def from_steps(card: Any, records: Records) -> Iterator[str]:
    """Too few steps, for learning or for the averaged weights."""
    steps = records[-1].get("step", 0) if records else 0
    if not steps:
        return
    if steps < FEW_STEPS:
        yield f"{steps:,} steps are few: train longer (--epochs, --iterations), or with a smaller --batch"
    decay = card.recipe.get("average", 0.0)
    if decay and WITH_WARMUP not in card.recipe and decay**steps > STUCK:
        yield (
            f"the averaged weights still contain {percent(decay**steps)} of the initial ones after {steps:,} steps "
            f"(--average {decay:g}): --average 0, or train longer"
        )


def from_memory(card: Any, records: Records) -> Iterator[str]:
    """The training images were learnt and others were not."""
    more = "add images, or start from pretrained weights (--pretrained)"
    accuracy = accuracy_on_train(records)
    if accuracy >= LEARNT:
        images = f"the {card.data.get('counts', {}).get('train', 0):,} training images"
        yield f"{percent(accuracy)} of {images} are predicted correctly: too few to learn more from, {more}"
        return
    both = [(r["train_loss"], r["val_loss"]) for r in records if "train_loss" in r and "val_loss" in r]
    if len(both) > 1 and both[-1][0] < FALLEN * both[0][0] and both[-1][1] > LEVELLED * both[0][1]:
        yield (
            f"the training loss fell from {both[0][0]:.3g} to {both[-1][0]:.3g}, and that of val did not "
            f"({both[0][1]:.3g} to {both[-1][1]:.3g}): overfitting, {more}; or wrong labels ({check_command(card)})"
        )


def from_counts(card: Any, evaluation: ClassEvaluation) -> Iterator[str]:
    """Too few images to learn from, or to evaluate on."""
    train, classes = card.data.get("counts", {}).get("train", 0), len(evaluation.classes)
    if 0 < train < FEW_A_CLASS * classes and not card.recipe.get("pretrained"):
        yield f"{train:,} training images of {classes:,} classes are few: start from pretrained weights (--pretrained)"
    yield from from_size(evaluation)


def from_size(evaluation: ClassEvaluation) -> Iterator[str]:
    """Too few images to know whether a figure above that of constant predictions is due to chance."""
    n, labels = evaluation.metrics["n"], evaluation.labels
    above = evaluation.several or evaluation.metrics["top1"] > np.bincount(labels).max() / n
    if n < SMALL_SPLIT and above:
        yield f"{n:,} images in {evaluation.scored.split} are too few for a clear result: evaluate on more"


def accuracy_on_train(records: Records) -> float:
    """Accuracy of the last epoch, or micro F1 for several labels; 0 where it was not measured."""
    last: dict[str, float] = records[-1] if records else {}
    return last.get("train_top1", last.get("train_f1_micro", 0.0))


def check_command(card: Any) -> str:
    """The shell command that checks the training data."""
    options = ReadOptions(**card.data.get("reading", {})).options()
    return legible(shlex.join(["skipway", "check", card.data["name"], *options]))
