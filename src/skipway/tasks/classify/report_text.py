"""Sentences and main figures of a report on classes."""

import math
from typing import Any

import numpy as np

from skipway.reporting.numbers import interval, percent
from skipway.tasks.base import AS_BUNDLED, ENSEMBLE
from skipway.tasks.classify.calibration import BINS, FEWEST, FOLDS
from skipway.tasks.classify.evaluation import ClassEvaluation
from skipway.tasks.tag.thresholds import FEWEST as FEWEST_OF_CLASS
from skipway.tasks.tag.thresholds import KEY


def headlines(evaluation: ClassEvaluation) -> list[tuple[str, str, str]]:
    """(name, figure, note) of the figures at the top, the main one first."""
    m, n = evaluation.metrics, f"{evaluation.metrics['n']:,}\u00a0images"
    several, count = evaluation.several, len(evaluation.classes)
    chance = f"nats; chance gives {math.log(2 if several else count):.4f}"
    shared = [
        ("Loss", f"{m['loss']:.4f}", chance),
        ("Calibration error", percent(m["ece"]), about_error(evaluation)),
    ]
    if several:
        return [
            ("Mean average precision", percent(m["map"]), f"mean over the classes, {n}"),
            ("Macro F1", percent(m["f1_macro"]), f"mean over the classes{about_half(m, 'f1_macro')}"),
            ("Micro F1", percent(m["f1_micro"]), f"over all labels{about_half(m, 'f1_micro')}"),
            ("Every label correct", percent(m["exact"]), f"95\u00a0% interval {interval(m['exact_interval'])}"),
            *shared,
        ]
    shown = [("Top-1 accuracy", "top1", f", {n}"), *([("Top-5 accuracy", "top5", "")] if "top5" in m else [])]
    return [
        *(
            (name, percent(m[key]), f"95\u00a0% interval {interval(m[f'{key}_interval'])}{end}")
            for name, key, end in shown
        ),
        ("Balanced accuracy", percent(m["balanced_accuracy"]), "mean recall of the classes"),
        ("Macro F1", percent(m["f1_macro"]), "mean F1 of the classes"),
        *shared,
    ]


def about_error(evaluation: ClassEvaluation) -> str:
    if evaluation.calibrated is None:
        return "no temperature was fitted"
    return f"{percent(evaluation.metrics['ece_uncalibrated'])} without temperature"


def about_half(metrics: dict[str, Any], key: str) -> str:
    """What a figure at thresholds from val is at a probability of 50 % for every class."""
    half = metrics.get(f"{key}_at_half")
    return "" if half is None else f"; {percent(half)} with 50\u00a0% for each"


def about_thresholds(evaluation: ClassEvaluation) -> str:
    """Where the thresholds of the classes' probabilities come from; empty for one class an image."""
    if not evaluation.several:
        return ""
    if evaluation.thresholds:
        return (
            "A class is predicted above its own threshold, which has the largest F1 on val. It is 50\u00a0% for a "
            f"class that fewer than {FEWEST_OF_CLASS} images there have, and where another threshold did not raise F1 "
            "on images that it was not chosen on."
        )
    if KEY in evaluation.metrics:
        return (
            "A class is predicted above 50\u00a0% here. The thresholds were chosen on these images and are those of "
            "predictions; F1 at them would be too good here."
        )
    return "A class is predicted above 50\u00a0%."


def about_calibration(evaluation: ClassEvaluation, card: Any, protocol: str) -> str:
    """What the calibration error is, and where the temperature comes from, or why there is none."""
    what = (
        f"The calibration error is the mean distance between the two over {BINS} bins of equal width, weighted by size."
    )
    fitted = card.calibration
    if card.recipe["name"] == ENSEMBLE and protocol == AS_BUNDLED:
        return f"{what} Before averaging, each network's scores were divided by its own temperature, where it has one."
    if protocol != AS_BUNDLED:
        return f"{what} No temperature is applied: it is fitted to single views of an image."
    if fitted:
        source = f"Scores are divided by a temperature of {card.temperature:.4f}, fitted on {fitted['n']:,} images of "
        if not evaluation.cross_fitted:
            return f"{what} {source}{fitted['split']}; it does not change the accuracy."
        return (
            f"{what} {source}{fitted['split']}, which are the images evaluated here. So that no image affects its own "
            f"temperature, the error with temperature is cross-fitted: {FOLDS} temperatures, each fitted on four "
            "fifths of the images and applied to the rest."
        )
    unchanged = "Probabilities are those of the network, unscaled."
    val = card.data.get("counts", {}).get("val", 0)
    if not val:
        return f"{what} There was no validation split to fit a temperature on. {unchanged}"
    if val < FEWEST:
        return f"{what} No temperature was fitted: the {val} images of val are too few (at least {FEWEST}). {unchanged}"
    return (
        f"{what} No temperature is used: on val, temperatures fitted on four fifths of the images did not lower the "
        f"calibration error of the rest. {unchanged}"
    )


def about_chance(evaluation: ClassEvaluation) -> str:
    """What constant or random predictions would score."""
    labels = evaluation.labels
    if evaluation.several:
        return f"Random scores would give a mean average precision of {percent(float((labels > 0).mean()))}."
    return f"Always predicting the most frequent class would score {percent(np.bincount(labels).max() / len(labels))}."


def result(evaluation: ClassEvaluation) -> str:
    """The main figure with its interval, and the calibration error, in two lines."""
    m = evaluation.metrics
    if evaluation.several:
        named = {"mAP": "map", "macro F1": "f1_macro", "micro F1": "f1_micro"}
        figures = ", ".join(f"{name} {100 * m[key]:.2f} %" for name, key in named.items())
    else:
        low, high = m["top1_interval"]
        figures = f"accuracy {100 * m['top1']:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f})"
        figures += f", top-5 {100 * m['top5']:.2f} %" if "top5" in m else ""
    without = f" ({100 * m['ece_uncalibrated']:.2f} % without temperature)" if evaluation.calibrated else ""
    return f"{evaluation.scored.split} {figures}, {m['n']:,} images\ncalibration error {100 * m['ece']:.2f} %{without}"
