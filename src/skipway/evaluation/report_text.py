"""Sentences of a report that are the same for every task."""

from skipway.bundle import Card
from skipway.reporting.svg import legible
from skipway.tasks.base import AVERAGE, CROSS_VALIDATION, ENSEMBLE, SplitOutputs


def about_origin(card: Card) -> str:
    """Which network it is, and how it was made."""
    recipe = card.recipe
    width = card.preprocessing["size"]
    height = card.preprocessing.get("height") or width
    what = (
        f"{card.network['name']}, {card.parameters:,} parameters, {len(card.classes)} classes, images of "
        f"{width} × {height} pixels."
    )
    if recipe["name"] == ENSEMBLE:
        members = [legible(run) for run in recipe["members"]]
        return f"{what} The mean of the probabilities of {', '.join(members[:-1])} and {members[-1]}."
    if recipe["name"] == AVERAGE:
        members = [legible(run) for run in recipe["members"]]
        return f"{what} The mean of the weights of {', '.join(members[:-1])} and {members[-1]}."
    if recipe["name"] == CROSS_VALIDATION:
        return f"{what} Trained {len(recipe['members'])} times, each time without another fold of the images."
    if recipe["name"] == "adopted":
        made = f"Imported from the weights {legible(recipe['pretrained'])}"
    else:
        taught = f", taught by {legible(card.teacher['run'])} ({card.teacher['network']})" if card.teacher else ""
        start = f" from the weights {legible(recipe['pretrained'])}" if recipe.get("pretrained") else ""
        made = f"Trained with the recipe {recipe['name']}{start}{taught}"
    return f"{what} {made} on {card.created[:10]}, commit {card.commit}."


def about_kept(card: Card) -> str:
    """After which epoch the weights are kept, and why training ended."""
    if card.recipe["name"] == AVERAGE:
        return "the weights are the mean of those of several runs."
    if not card.kept:
        return "the weights are those after the last step."
    epoch, epochs = card.kept["epoch"], card.kept["epochs"]
    which = f"the weights are those after epoch {epoch}, the best on val."
    if not card.kept["early"]:
        return f"{which} All {epochs} epochs were trained."
    return f"{which} Training stopped early, after epoch {epochs}: none after epoch {epoch} had a better figure."


def about_split(scored: SplitOutputs, card: Card) -> str:
    """Which images were evaluated, and how they and the other splits were used in training."""
    n, watched = f"{len(scored.images):,} images", card.data.get("counts", {}).get("val")
    if card.recipe["name"] == CROSS_VALIDATION:
        return (
            f"Evaluated on {legible(scored.data)}, {n}, each once by the network that did not learn from its fold. "
            f"{card.recipe['spread']}. The interval is over images, and not over trainings."
        )
    if not scored.trained_on:
        return (
            f"Evaluated on {legible(scored.data)}, {scored.split}: {n}. The network was trained on "
            f"{legible(card.data['name'])}; whether the two share images was not checked."
        )
    role = f"only monitored the run: {about_kept(card)}"
    if card.kept:
        role = f"decided how long it was and which weights are kept: {about_kept(card)}"
    val = f"No validation split was held out; {about_kept(card)}"
    if watched:
        val = f"The validation split, {watched:,} images held out from training, {role}"
    if scored.split == "test":
        return f"Evaluated on the test split, {n} that were not used in training. {val}"
    if scored.split == "val":
        return (
            f"Evaluated on the validation split, not on the test split: {n} held out from training. They {role} "
            f"{'The' if card.kept else 'If settings were chosen by results on val, the'} figure is optimistic. "
            "The test split was not used."
        )
    return (
        f"Evaluated on the training split: {n} that the network learned from. The figure shows how well they were "
        f"learned, and nothing about new images. {val} The test split was not used."
    )
