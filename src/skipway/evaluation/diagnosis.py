"""Signs that a network learnt nothing or never predicts a class, with the likely causes.

An accuracy by itself does not say that it is worthless: 62 % looks like something, and may be what always answering the
most frequent class gives. So an evaluation is compared with answers that need no network.
"""

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import norm, poisson

from skipway.bundle import Card
from skipway.data.reading import Reading
from skipway.evaluation.evaluate import Evaluation
from skipway.evaluation.pages import interval, percent
from skipway.evaluation.plots import legible
from skipway.tasks.tag import THRESHOLD

Severity = Literal["error", "warning"]  # error: of no use as it is; warning: to be looked at
Records = Sequence[dict[str, Any]]

SHUFFLES = 19  # a figure above those of so many shuffled rankings is significant at 5 %, one-sided
SIGNIFICANCE = 0.01  # of right answers being more than those of shuffled ones, one-sided
FEW_CLASSES = 20  # among so many, one that is never predicted is always said; among more, chance alone leaves some out
LEVEL = 0.05  # of that chance; and the share of many classes that makes an error of it
FEW_IMAGES = 5  # of a class in the judged split: with fewer, that it is never predicted is no error yet
NAMED = 3  # classes named in a sentence; of more, how many there are is said
FEW_STEPS = 300
FEW_A_CLASS = 20  # training images
SMALL_SPLIT = 100  # images, of which an interval is wide
STUCK = 0.1  # share of the untrained weights in the average of weights, above which this has hardly moved
WITH_WARMUP = (
    "only_head"  # a field of the recipes in cards written since that average has a warm-up, and is never stuck
)
FALLEN, LEVELLED = 0.8, 0.98  # of a loss in the first epoch: below the one it fell, above the other it did not
LEARNT = 0.8  # accuracy, or micro F1, on the training images that shows that they were learnt


@dataclass(frozen=True)
class Finding:
    """What is wrong, the figures that show it, and the likely causes with what to do, the likeliest first."""

    severity: Severity
    title: str
    detail: str
    advice: tuple[str, ...]

    def in_words(self) -> str:
        """All of it in one line."""
        return f"warning: {self.title}: {self.detail}. {self.heading}: {'; '.join(self.advice)}"

    @property
    def heading(self) -> str:
        """What the advice is called."""
        return "Likely cause" if len(self.advice) == 1 else "Likely causes"


def diagnose(card: Card, records: Records, evaluation: Evaluation) -> list[Finding]:
    """What speaks against the network, errors first; nothing against one that learnt.

    records: the lines of metrics.jsonl, which tell the causes; none where a bundle came without.
    """
    baseline = not_above_chance(evaluation) if evaluation.several else not_above_constant(evaluation)
    found: list[Finding] = []
    if baseline is not None:
        severity, title, detail = baseline
        why = causes(card, records, evaluation) if severity == "error" else imbalance(evaluation)
        found.append(Finding(severity, title, detail, tuple(why)))
    return sorted([*found, *never_predicted(evaluation)], key=lambda finding: finding.severity)


def not_above_constant(evaluation: Evaluation) -> tuple[Severity, str, str] | None:
    """Severity, title and detail where the accuracy's interval is not above the share of the most frequent class.

    A lesser warning where the answers follow the images all the same, as when rare classes are favoured in training.
    None where the accuracy is above it, and where all images are of one class.
    """
    assert evaluation.confusion is not None
    counts, metrics = evaluation.confusion.sum(1), evaluation.metrics
    share = float(counts.max() / counts.sum())
    if share == 1 or metrics["top1_interval"][0] > share:
        return None
    constant = f"always answering '{legible(evaluation.classes[int(counts.argmax())])}'"
    ends = f"95\u00a0% interval {interval(metrics['top1_interval'])}"
    detail = (
        f"accuracy {percent(metrics['top1'])} ({ends}) on {metrics['n']:,} images; {constant} gives {percent(share)}"
    )
    apart = "is no better than" if metrics["top1"] <= share else "cannot be told from"
    if follows(evaluation.confusion):
        return "warning", f"The accuracy {apart} that of {constant}, though the answers follow the images", detail
    answers = np.unique(evaluation.said)
    if len(answers) == 1:
        detail += f"; it answers '{legible(evaluation.classes[int(answers[0])])}' for every image"
    return "error", f"The network {apart} {constant}", detail


def follows(confusion: np.ndarray) -> bool:
    """Whether more answers are right than would be if the same answers were dealt out to the images at random.

    How many would then be right has a known mean and variance, and is nearly normal.
    """
    n, true, said = int(confusion.sum()), confusion.sum(1), confusion.sum(0)
    pairs = true * said
    mean = float(pairs.sum() / n)
    variance = (mean**2 + pairs.sum() - (pairs * (true + said)).sum() / n) / (n - 1)
    return variance > 0 and bool(norm.sf((np.trace(confusion) - mean) / math.sqrt(variance)) < SIGNIFICANCE)


def not_above_chance(evaluation: Evaluation) -> tuple[Severity, str, str] | None:
    """Severity, title and detail where the mean average precision is no higher than that of constant scores, which is
    the labels' prevalence, or of the network's own scores dealt out to the images at random.

    None where it is higher, and where no label tells images apart.
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
        f"{percent(constant)}, and its scores dealt out to the images at random up to {percent(shuffled)}"
    )
    return "error", "The network is no better than chance", detail


def shuffled_precision(evaluation: Evaluation) -> Iterator[float]:
    """The mean average precision of SHUFFLES random assignments of the scores to the images."""
    labels = evaluation.labels > 0
    present = labels.any(0)
    labels, scores = labels[:, present], evaluation.scored.scores.numpy()[:, present]
    order, ranks, rng = np.argsort(-scores, axis=0), np.arange(1, len(labels) + 1)[:, None], np.random.default_rng(0)
    for _ in range(SHUFFLES):
        hits = np.take_along_axis(rng.permutation(labels), order, 0)
        yield float(((hits.cumsum(0) / ranks * hits).sum(0) / hits.sum(0)).mean())


def never_predicted(evaluation: Evaluation) -> Iterator[Finding]:
    """At most one finding: the classes that images have and the network says of none.

    Among more than FEW_CLASSES it is made only of more classes than chance would leave out. Of several labels, the
    order of the images may be right all the same: an error only if no label is ever said.
    """
    classes, said = evaluation.classes, evaluation.said
    answers = said.sum(0) if evaluation.several else np.bincount(said, minlength=len(classes))
    counts = np.array([row["n"] for row in evaluation.per_class])
    there, missing = np.flatnonzero(counts), np.flatnonzero((counts > 0) & (answers == 0))
    many = len(there) > FEW_CLASSES
    # answers as frequent as the classes, and otherwise at random, leave out one of n images with a chance of exp(-n)
    if not len(missing) or (many and len(missing) <= poisson.ppf(1 - LEVEL, np.exp(-counts[there]).sum())):
        return
    grave = len(missing) >= LEVEL * len(there) if many else bool((counts[missing] >= FEW_IMAGES).any())
    if evaluation.several:
        grave = len(missing) == len(there)
    them = "it" if len(missing) == 1 else "them"
    title, count = in_title(classes, missing), int(counts[missing].sum())
    advice = f"too few training images of {them}, or too short a training: add images, or --balance weights or sampler"
    detail = f"there are {count:,} images of {them} among {evaluation.metrics['n']:,}"
    if evaluation.several:
        detail = f"{count:,} of the labels are of {them}, in {evaluation.metrics['n']:,} images"
        advice = (
            f"no probability of {them} is above {percent(THRESHOLD)}, while the order of images may be right (see the "
            "average precision): take a lower threshold, or --balance weights"
        )
    yield Finding("error" if grave else "warning", title, detail, (advice,))


def in_title(classes: Sequence[str], missing: np.ndarray) -> str:
    """Classes by name, or of more than NAMED how many they are."""
    if len(missing) > NAMED:
        return f"{len(missing):,} of {len(classes):,} classes are never predicted"
    *others, last = [f"'{legible(classes[i])}'" for i in missing]
    return (
        f"Classes {', '.join(others)} and {last} are never predicted" if others else f"Class {last} is never predicted"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Why


def causes(card: Card, records: Records, evaluation: Evaluation) -> list[str]:
    """Why a network may have learnt nothing, as card and records tell, and what to do; the likeliest first."""
    if not evaluation.scored.trained_on:
        return [f"it was trained on {legible(card.data['name'])}: these images may differ in kind, or their labels"]
    found = [
        *from_steps(card, records),
        *from_loss(records, evaluation),
        *from_memory(card, records),
        *from_counts(card, evaluation),
    ]
    return found or [
        f"nothing in the record of the training explains it: see whether the labels are right ({check_of(card)})"
    ]


def imbalance(evaluation: Evaluation) -> list[str]:
    """Why the accuracy of a network that learnt something may not show it."""
    balanced = percent(evaluation.metrics["balanced_accuracy"])
    return [
        f"one class is frequent, and others are answered at its expense: balanced accuracy ({balanced}) and the recall "
        "of each class say more here",
        *from_size(evaluation),
    ]


def from_loss(records: Records, evaluation: Evaluation) -> Iterator[str]:
    """The training loss did not fall, and the training images were not learnt either."""
    losses = [record["train_loss"] for record in records if "train_loss" in record]
    if not losses:
        return
    if not math.isfinite(losses[-1]):
        yield "the training loss became infinite: a lower --lr"
        return
    even = math.log(2 if evaluation.several else len(evaluation.classes))
    first = losses[0] if len(losses) > 1 else even
    if losses[-1] > LEVELLED * first and accuracy_on_train(records) < LEARNT:
        start = "in the first epoch" if len(losses) > 1 else "for even odds"
        yield (
            f"the training loss did not fall ({first:.3g} {start}, {losses[-1]:.3g} in the "
            "last): an --lr ten times lower, or higher"
        )


def from_steps(card: Card, records: Records) -> Iterator[str]:
    """Too few steps, for learning or for the average of weights."""
    steps = records[-1].get("step", 0) if records else 0
    if not steps:
        return
    if steps < FEW_STEPS:
        yield f"{steps:,} steps are few: train longer (--epochs, --iterations), or with a smaller --batch"
    decay = card.recipe.get("average", 0.0)
    if decay and WITH_WARMUP not in card.recipe and decay**steps > STUCK:
        yield (
            f"the average of weights holds {percent(decay**steps)} of the untrained ones after {steps:,} steps "
            f"(--average {decay:g}): --average 0, or train longer"
        )


def from_memory(card: Card, records: Records) -> Iterator[str]:
    """The training images were learnt and others not."""
    more = "add images, or start from trained weights (--pretrained)"
    accuracy = accuracy_on_train(records)
    if accuracy >= LEARNT:
        images = f"the {card.data.get('counts', {}).get('train', 0):,} training images"
        yield f"{percent(accuracy)} of {images} are answered right: too few to learn more from, {more}"
        return
    both = [(r["train_loss"], r["val_loss"]) for r in records if "train_loss" in r and "val_loss" in r]
    if len(both) > 1 and both[-1][0] < FALLEN * both[0][0] and both[-1][1] > LEVELLED * both[0][1]:
        yield (
            f"the training loss fell from {both[0][0]:.3g} to {both[-1][0]:.3g}, and that of val did not "
            f"({both[0][1]:.3g} to {both[-1][1]:.3g}): overfitting, {more}; or wrong labels ({check_of(card)})"
        )


def from_counts(card: Card, evaluation: Evaluation) -> Iterator[str]:
    """Too few images to learn from, or to tell by."""
    train, classes = card.data.get("counts", {}).get("train", 0), len(evaluation.classes)
    if 0 < train < FEW_A_CLASS * classes and not card.recipe.get("pretrained"):
        yield f"{train:,} training images of {classes:,} classes are few: start from trained weights (--pretrained)"
    yield from from_size(evaluation)


def from_size(evaluation: Evaluation) -> Iterator[str]:
    """Too few images to tell whether a figure that is above that of a constant answer is so by chance."""
    n, labels = evaluation.metrics["n"], evaluation.labels
    above = evaluation.several or evaluation.metrics["top1"] > np.bincount(labels).max() / n
    if n < SMALL_SPLIT and above:
        yield f"{n:,} images in {evaluation.scored.split} are few to tell by: judge on more"


def accuracy_on_train(records: Records) -> float:
    """Of the last epoch, or micro F1 where images have several labels; 0 where it was not measured."""
    last: dict[str, float] = records[-1] if records else {}
    return last.get("train_top1", last.get("train_f1_micro", 0.0))


def check_of(card: Card) -> str:
    """What a shell runs to have the training data checked."""
    options = Reading(**card.data.get("reading", {})).options()
    return legible(shlex.join(["skipway", "check", card.data["name"], *options]))
