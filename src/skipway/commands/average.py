"""The mean of the weights of several trained networks, as a new network.

Wortsman and others: Model soups. ICML 2022, arXiv:2203.05482, the uniform soup: it helps where the runs started from
the same weights. Batch-norm statistics are those of the new network, measured on the training images (Izmailov 2018,
arXiv:1803.05407, sec. 3.2), unless all runs have the same, as with frozen ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from skipway import bundle
from skipway.bundle import Card
from skipway.commands.arguments import Folder, as_data, as_paths, default_console, resolve_hardware
from skipway.commands.evaluate import dataset_of, evaluate_after_training
from skipway.commands.run import Run
from skipway.data.dataset import Dataset, Split, with_validation
from skipway.data.loader import in_order
from skipway.errors import SkipwayError, refuse_if
from skipway.evaluation.test_time_augmentation import workers_for
from skipway.hardware import Hardware
from skipway.tasks.base import AVERAGE
from skipway.trained import TrainedModel
from skipway.training.optimiser import norms
from skipway.training.run_log import commit

STATISTICS = ("running_mean", "running_var")


def average(
    runs: Sequence[Folder],
    out: Folder,
    data: Folder | Dataset | None = None,
    hardware: Hardware | None = None,
    console: Console | None = None,
) -> Run:
    """A new network in the folder `out`, whose weights are the means of those of `runs`, evaluated like a trained one.

    data: the images that the runs were trained on; None: as the first run names them. Raises SkipwayError for runs that
    differ in network, classes, preprocessing or data, and where every image was learned from by one of them.
    """
    own, shown = resolve_hardware(hardware), console or default_console()
    places = as_paths(runs)
    refuse_if(len(places) < 2, "at least two runs are averaged", "name another")
    models = [TrainedModel.load(Path(place), own) for place in places]
    first, cards = models[0], [model.card for model in models]
    for place, card in zip(places[1:], cards[1:], strict=True):
        require_equal(places[0], cards[0], place, card)
    dataset, mark = dataset_of(None if data is None else as_data(data), first.card)
    refuse_if(mark != first.card.data["fingerprint"], "these are other images than the runs learned from", "name those")
    card = card_of(cards, places, dataset)
    first.net.load_state_dict(mean_weights([model.net.state_dict() for model in models]))
    if statistics_differ(models):
        train = with_validation(dataset, card.recipe["val"], card.recipe["seed"]).train
        shown.print(f"batch-norm statistics are measured on {len(train):,} training images", soft_wrap=True)
        measure_statistics(first, train.take(np.random.default_rng(0).permutation(len(train))), card, own)
    with bundle.new_folder(Path(out)):
        bundle.write(Path(out), first.net.state_dict(), card)
    evaluate_after_training(Path(out), dataset, own, shown)
    return Run(out)


def require_equal(one: str, first: Card, other: str, card: Card) -> None:
    """Raises SkipwayError, naming what differs, for a run that cannot be averaged with the first."""
    for what in ("task", "classes", "network", "preprocessing"):
        a, b = getattr(first, what), getattr(card, what)
        if a != b:
            fields = [name for name in a if a[name] != b.get(name)] if isinstance(a, dict) else []
            which = f" ({', '.join(fields)})" if fields else ""
            raise SkipwayError(
                f"{one} and {other} differ in {what}{which}: average runs that started from the same weights"
            )
    if first.data["fingerprint"] != card.data["fingerprint"]:
        raise SkipwayError(f"{one} and {other} were trained on other images: average runs on the same data")


def card_of(cards: Sequence[Card], places: Sequence[str], dataset: Dataset) -> Card:
    """The card of the average. Raises SkipwayError where no image of val or test was kept from all runs."""
    first = cards[0]
    cuts = {(card.recipe.get("val", 0.0), card.recipe.get("seed", 0)) for card in cards}
    mixed = len(cuts) > 1 and dataset.val is None
    refuse_if(
        mixed and dataset.test is None,
        "each run cut its own val from the data (--val, --seed) and learned from the others', and there is no test",
        "average runs of the same seed, or give the data a val split",
    )
    val, seed = (0.0, 0) if mixed else next(iter(sorted(cuts)))
    counts = {key: n for key, n in first.data.get("counts", {}).items() if not (mixed and key == "val")}
    if mixed and "val" in first.data.get("counts", {}):
        counts["train"] = counts["train"] + first.data["counts"]["val"]
    return replace(
        first,
        recipe={**first.recipe, "name": AVERAGE, "members": list(places), "val": val, "seed": seed},
        data={**first.data, "counts": counts},
        seconds=sum(card.seconds for card in cards),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        metrics={},
        summaries={},
        calibration=None,
        kept={},
    )


def mean_weights(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor; of whole numbers, as counts of batches, the first."""
    found = {}
    for name, tensor in states[0].items():
        if tensor.is_floating_point():
            mean = torch.stack([state[name].double() for state in states]).mean(0)
            found[name] = mean.to(tensor.dtype)
        else:
            found[name] = tensor
    return found


def statistics_differ(models: Sequence[TrainedModel]) -> bool:
    """Whether the networks have batch norm with other statistics."""
    states = [
        {name: value for name, value in model.net.state_dict().items() if name.endswith(STATISTICS)} for model in models
    ]
    return any(not torch.equal(states[0][name], other[name]) for other in states[1:] for name in other)


def measure_statistics(model: TrainedModel, images: Split, card: Card, hardware: Hardware) -> None:
    """Give the network's batch norms the statistics of `images`, which are in any order but that of their classes.

    Batches are whole, as in training: each counts as much as the others, and one image may have no variance.
    """
    batch = card.recipe["batch"]
    whole = images.take(np.arange(len(images) // batch * batch or len(images)))
    batches = in_order(whole, model.preprocessing, batch, workers_for(model.preprocessing, hardware))
    momenta: dict[Any, float | None] = {norm: getattr(norm, "momentum", None) for norm in norms(model.net)}
    for norm in momenta:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    with torch.no_grad():
        for batch in batches:
            model.net(model.preprocessing.normalised(batch.to(hardware.device)))
    for norm, momentum in momenta.items():
        norm.momentum = momentum
        norm.eval()
