"""Convert third-party weights into a bundle, so that evaluation, prediction and serving work on them."""

import math
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from skipway import bundle, models
from skipway.bundle import Card
from skipway.data.preprocess import Preprocessing
from skipway.download import digest
from skipway.errors import SkipwayError, refuse_if
from skipway.hardware import ShapesOnly
from skipway.models.base import Network
from skipway.models.pretrained.registry import CIFAR10, imagenet_classes
from skipway.models.pretrained.state_dict_check import MismatchError, compare, without_unexpected
from skipway.models.pretrained.weights import Pretrained, find, unused_note
from skipway.tasks import Task, task_for_network

DENSE_SIZE = 800  # pixels of the longer side of what is not known by name
ADOPTED = "adopted"  # stands where a card of ours names its recipe
CLASS_NAMES: dict[str, Callable[[], tuple[str, ...]]] = {"imagenet": imagenet_classes, "cifar10": lambda: CIFAR10}


@dataclass(frozen=True)
class InputOptions:
    """What somebody says of a network's images where the weights do not; None: as the weights' record has it.

    classes: "imagenet", "cifar10" or a file with a name a line; size, resize: the crop's side and the shorter side
    before it, in pixels; mean, std: per channel, for values in [0, 1].
    """

    classes: str | None = None
    size: int | None = None
    resize: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def import_weights(
    text: str, out: Path, model: str | None = None, feeding: InputOptions | None = None
) -> tuple[Card, list[str]]:
    """A bundle in the new folder `out` from the weights that `text` means (see models.weights.locate).

    Returns its card and what people should know, a phrase each. `model` may be left out for named weights. Raises
    SkipwayError in one line for weights that do not fit, or of which too little is known.
    """
    feeding = feeding or InputOptions()
    if Path(text).is_dir():
        raise SkipwayError(f"{text} is a folder: a bundle needs no making, and anything else is no file of weights")
    pretrained = find(model, text)
    model = model or (pretrained.record.net if pretrained.record else None)
    if model is None:
        raise SkipwayError(f"{text} does not say whose weights it holds: give --model")
    network = network_of(model, pretrained)
    task = task_for_network(model, class_names(feeding, pretrained, network["classes"]))
    net = task.build(network)
    weights, strangers = without_unexpected(net, pretrained.weights)
    if mismatch := compare(net, weights):
        raise MismatchError(model, mismatch)
    net.load_state_dict(weights, strict=False)  # counts of batches may be missing
    card = card_of(text, pretrained, feeding, task, network, net)
    with bundle.new_folder(out):
        bundle.write(out, net.state_dict(), card)
    known = f"known by its checksum as {pretrained.record.name}" if pretrained.record and Path(text).is_file() else ""
    said = [*pretrained.conversion_notes(), *unused_note([*pretrained.unused, *strangers])]
    return card, [known, *said] if known else said


def card_of(
    text: str, pretrained: Pretrained, feeding: InputOptions, task: Task, network: dict[str, Any], net: Network
) -> Card:
    """The card of the weights named `text`, which were not trained here, in `net`, made by `task.build(network)`."""
    prepare = preprocessing(feeding, pretrained, net, network["name"], network["channels"], text)
    return Card(
        task=task.name,
        network=network,
        head=task.head,
        classes=list(task.classes),
        preprocessing=asdict(prepare),
        recipe=origin(text, pretrained),
        data={"name": pretrained.record.data if pretrained.record else "images not known here", "fingerprint": ""},
        hardware={},
        versions={"python": platform.python_version()} | {p: version(p) for p in ("skipway", "torch", "torchvision")},
        commit="unknown",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        parameters=sum(p.numel() for p in net.parameters()),
        seconds=0.0,
    )


def network_of(model: str, pretrained: Pretrained) -> dict[str, Any]:
    """The arguments of the task's `build` for `model` with the classes, channels and stem of the weights."""
    models.require_known(model)
    if models.is_dense(model):
        return network_of_dense(model, pretrained)
    with ShapesOnly():
        shape = models.build(model)
    weights = pretrained.weights
    head, first = weights.get(f"{shape.heads[0]}.weight"), weights.get(f"{shape.first}.weight")
    if head is None or first is None or head.dim() != 2 or first.dim() != 4:
        raise MismatchError(model, compare(shape, weights))
    network: dict[str, Any] = {"name": model, "classes": head.shape[0], "channels": first.shape[1]}
    if "stem" in models.options_of(model) and (stem := pretrained.stem()):
        network["stem"] = stem
    return network


def network_of_dense(model: str, pretrained: Pretrained) -> dict[str, Any]:
    """Likewise for a detector or segmenter."""
    with ShapesOnly():
        shape = models.create_dense(model, classes=1)
    classes, first = pretrained.classes(shape), pretrained.weights.get(f"{shape.first}.weight")
    if classes is None or first is None:
        raise MismatchError(model, compare(shape, pretrained.weights))
    return {"name": model, "classes": classes, "channels": first.shape[1]}


def class_names(feeding: InputOptions, pretrained: Pretrained, count: int) -> Sequence[str]:
    """The names of `count` classes: as told, or as the record has them. Raises SkipwayError for another count."""
    if feeding.classes is None:
        if pretrained.record is None:
            raise SkipwayError(f"what the {count} classes are called is not known: give --classes")
        names: Sequence[str] = pretrained.record.classes
    elif feeding.classes in CLASS_NAMES:
        names = CLASS_NAMES[feeding.classes]()
    else:
        try:
            names = Path(feeding.classes).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as fault:
            raise SkipwayError(
                f"--classes {feeding.classes} is neither {' nor '.join(CLASS_NAMES)} nor a text file ({fault})"
            ) from None
        names = [name.strip() for name in names if name.strip()]
    if len(names) != count:
        raise SkipwayError(f"the weights have {count} classes, and {len(names)} names are given: give as many")
    repeated = next((name for name, times in Counter(names).items() if times > 1), None)
    refuse_if(repeated is not None, f"the class name '{repeated}' is given twice", "give each class its own")
    return names


def preprocessing(
    feeding: InputOptions, pretrained: Pretrained, net: Network, model: str, channels: int, text: str
) -> Preprocessing:
    """How images are fed: as told, else as the record has it, else the field's custom for the size.

    Mean and deviation must be known: nothing would show that they are wrong.
    """
    record = pretrained.record
    mean, std = feeding.mean or (record and record.mean), feeding.std or (record and record.std)
    if not mean or not std:
        raise SkipwayError(f"{text} does not say how its images were normalised: give --mean and --std")
    for option, values in (("--mean", mean), ("--std", std)):
        if len(values) != channels:
            raise SkipwayError(f"{option} has {len(values)} values, and the images {channels} channels: give as many")
        if not all(map(math.isfinite, values)) or (option == "--std" and min(values) <= 0):
            raise SkipwayError(
                f"{option} {','.join(map(str, values))} cannot be: give finite numbers, above 0 for --std"
            )
    if models.is_dense(model):
        size = feeding.size or (record.resize if record else DENSE_SIZE)
        models.require_size(model, net, size)
        return Preprocessing(channels, size, size, mean, std, fit="pad")
    size = feeding.size or (record.size if record else 224 if net.smallest > 8 else 32)
    models.require_size(model, net, size)
    margin = record.resize / record.size if record else 1 if size <= models.SMALL else 256 / 224
    resize = feeding.resize or round(size * margin)
    if resize < size:
        raise SkipwayError(f"--resize {resize} is less than the {size} pixels that are cropped from it: give as many")
    return Preprocessing(
        channels=channels,
        size=size,
        resize=resize,
        mean=mean,
        std=std,
        filter="bicubic" if record and record.interpolation == "bicubic" else "bilinear",
    )


def origin(text: str, pretrained: Pretrained) -> dict[str, Any]:
    """Where the weights are from, in the place of a recipe: their name, file and checksum, and what is claimed."""
    record = pretrained.record
    found: dict[str, Any] = {
        "name": ADOPTED,
        "pretrained": record.name if record else Path(text).name,
        "file": pretrained.file.name,
        "sha256": digest(pretrained.file, "sha256"),
        "translation": "; ".join(pretrained.conversion_notes()) or "none",
    }
    if record:
        found |= {
            "url": record.url,
            "licence": record.licence,
            "published_top1": record.top1,
            "published_top5": record.top5,
            "published_as": record.measured,
        }
    return found
