"""What the report's page says in sentences, and the figures at its top."""

import math

import numpy as np

from skipway.bundle import Card
from skipway.evaluation.calibration import BINS, FEWEST, FOLDS
from skipway.evaluation.evaluate import Evaluation
from skipway.evaluation.pages import interval, percent
from skipway.evaluation.plots import legible

AS_BUNDLED = "center"  # the protocol that temperatures are fitted with
ENSEMBLE = "ensemble"  # stands where a card names its recipe


def headlines(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """(name, figure, note) of the figures at the top, the one that counts first."""
    m, n = evaluation.metrics, f"{evaluation.metrics['n']:,}\u00a0images"
    several, count = evaluation.several, len(evaluation.classes)
    even = f"nats; even odds give {math.log(2 if several else count):.4f}"
    shared = [
        ("Loss", f"{m['loss']:.4f}", even),
        ("Calibration error", percent(m["ece"]), about_error(evaluation)),
    ]
    if several:
        return [
            ("Mean average precision", percent(m["map"]), f"the mean of the classes, {n}"),
            ("Macro F1", percent(m["f1_macro"]), "the mean of the classes"),
            ("Micro F1", percent(m["f1_micro"]), "of all labels together"),
            ("Every label right", percent(m["exact"]), f"95\u00a0% interval {interval(m['exact_interval'])}"),
            *shared,
        ]
    shown = [("Top-1 accuracy", "top1", f", {n}"), *([("Top-5 accuracy", "top5", "")] if "top5" in m else [])]
    return [
        *(
            (name, percent(m[key]), f"95\u00a0% interval {interval(m[f'{key}_interval'])}{end}")
            for name, key, end in shown
        ),
        ("Balanced accuracy", percent(m["balanced_accuracy"]), "the mean recall of the classes"),
        ("Macro F1", percent(m["f1_macro"]), "the mean F1 of the classes"),
        *shared,
    ]


def about_error(evaluation: Evaluation) -> str:
    if evaluation.calibrated is None:
        return "no temperature was fitted"
    return f"{percent(evaluation.metrics['ece_uncalibrated'])} without temperature"


def about_calibration(evaluation: Evaluation, card: Card, protocol: str) -> str:
    """What the calibration error is, and where the temperature is from, or why there is none."""
    what = (
        f"The calibration error is the mean distance between the two over {BINS} bins of equal width, weighted by size."
    )
    fitted = card.calibration
    if card.recipe["name"] == ENSEMBLE and protocol == AS_BUNDLED:
        return f"{what} Before averaging, each network's scores were divided by its own temperature, where it has one."
    if protocol != AS_BUNDLED:
        return f"{what} No temperature is applied: those of cards are fitted to single views of an image."
    if fitted:
        source = f"Scores are divided by a temperature of {card.temperature:.4f}, fitted on {fitted['n']:,} images of "
        if not evaluation.cross_fitted:
            return f"{what} {source}{fitted['split']}; no accuracy changes by it."
        return (
            f"{what} {source}{fitted['split']}, which are the images judged here. So that no image helps to choose its "
            f"own temperature, the error with temperature is that of {FOLDS} others, each fitted on four fifths of the "
            "images and applied to the rest."
        )
    unchanged = "Probabilities are as the network gives them."
    val = card.data.get("counts", {}).get("val", 0)
    if not val:
        return f"{what} There was no val to fit a temperature on. {unchanged}"
    if val < FEWEST:
        return f"{what} No temperature was fitted: the {val} images of val are too few (at least {FEWEST}). {unchanged}"
    return (
        f"{what} No temperature was kept: on val, temperatures fitted on four fifths of the images did not lower the "
        f"calibration error of the rest. {unchanged}"
    )


def about_chance(evaluation: Evaluation) -> str:
    """What an answer without looking would score."""
    labels = evaluation.labels
    if evaluation.several:
        return f"Scores at random would give a mean average precision of {percent(float((labels > 0).mean()))}."
    return (
        f"Answering always with the most frequent class would score {percent(np.bincount(labels).max() / len(labels))}."
    )


def about_origin(card: Card) -> str:
    """Where the network is from."""
    recipe = card.recipe
    size = card.preprocessing["size"]
    what = (
        f"{card.network['name']}, {card.parameters:,} parameters, {len(card.classes)} classes, images of "
        f"{size} × {size} pixels."
    )
    if recipe["name"] == ENSEMBLE:
        members = [legible(run) for run in recipe["members"]]
        return f"{what} The mean of the probabilities of {', '.join(members[:-1])} and {members[-1]}."
    if recipe["name"] == "adopted":
        made = f"Made of the weights {legible(recipe['pretrained'])}"
    else:
        start = f" from the weights {legible(recipe['pretrained'])}" if recipe.get("pretrained") else ""
        made = f"Trained with the recipe {recipe['name']}{start}"
    return f"{what} {made} on {card.created[:10]}, commit {card.commit}."


def about_split(evaluation: Evaluation, card: Card) -> str:
    """Which images were judged, and what they and the other splits were to the training: what the figure is worth."""
    scored = evaluation.scored
    n, watched = f"{len(evaluation.labels):,} images", card.data.get("counts", {}).get("val")
    if not scored.trained_on:
        return (
            f"Judged on the {n} of {legible(scored.data)}, {scored.split}. The network was trained on "
            f"{legible(card.data['name'])}; whether the two share images was not checked."
        )
    val = "No val was set aside to watch the run; the weights are those after the last step."
    if watched:
        val = (
            f"Val, {watched:,} images kept out of training, watched the run and chose nothing: the weights are those "
            "after the last step."
        )
    if scored.split == "test":
        return f"Judged on test, {n} that training never saw. {val}"
    if scored.split == "val":
        return (
            f"Judged on val, not on test: {n} kept out of training. They watched the run and chose nothing: the "
            "weights are those after the last step. If settings were picked by looking at val, the figure flatters. "
            "Test was not used."
        )
    return (
        f"Judged on train: {n} that the network learned from. The figure says how well they were learned, and nothing "
        f"about new images. {val} Test was not used."
    )


def result(evaluation: Evaluation) -> str:
    """The figure that counts with its interval, and how far probabilities are to be believed, in two lines."""
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
