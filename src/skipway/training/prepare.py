"""From a source and a recipe to everything that a run needs: network, preprocessing, batches, validation images."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from skipway import models
from skipway.data.decode import channels_in
from skipway.data.loader import Resident, Streamed, natural_size
from skipway.data.preprocess import Preprocessing
from skipway.data.source import Source, require_learnable, with_validation
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.models.contract import Network
from skipway.models.layers import FLOAT32, kept_for_backward
from skipway.models.resnet import zero_last_scale
from skipway.models.stochastic_depth import add_stochastic_depth
from skipway.models.weights import Pretrained, find, load
from skipway.tasks import Classify, Tag, Task
from skipway.training.balance import loss_weights
from skipway.training.distributed import ALONE, Group
from skipway.training.images import Validation, feeding, open_images
from skipway.training.recipes import Recipe

PHOTOGRAPH = 224  # pixels a side for images that are not small
FEWEST_STEPS = 10  # an epoch has at least as many, unless its batches would be smaller than SMALLEST_BATCH
SMALLEST_BATCH = 8  # images; batch norm is of little use with fewer


@dataclass(frozen=True)
class Prepared:
    """A run before its first step. `network`: `models.build`'s arguments; `weights`: of the classes in the loss."""

    source: Source
    recipe: Recipe
    network: dict[str, Any]
    net: Network
    recomputed: bool
    task: Task
    weights: Tensor | None
    preprocessing: Preprocessing
    batches: Resident | Streamed
    validation: Validation | None


def channels_of(source: Source) -> int:
    """The data's own channels, as its first image tells: an array's; 3 for photographs, grey ones too."""
    return channels_in(source.train.items[0], source.train.names[0])


def fitted_batch(batch: int, images: int, world: int = 1) -> int:
    """`batch`, or a smaller one where `images` would have fewer than FEWEST_STEPS steps an epoch, or lose a tenth.

    It divides the images nearly evenly: an epoch then leaves out fewer than it has steps. It is a multiple of `world`.
    """
    most = min(batch, max(images // FEWEST_STEPS, SMALLEST_BATCH), images)
    if most == batch and images % batch <= images // FEWEST_STEPS:
        return batch
    even = images // -(-images // most)
    return max(even // world, 1) * world


def fitted_recipe(recipe: Recipe, images: int, world: int, console: Console) -> Recipe:
    """`recipe` with a batch that suits so many training images; a smaller one is said."""
    batch = fitted_batch(recipe.batch, images, world)
    if batch != recipe.batch:
        steps = images // batch
        console.print(f"batch {recipe.batch} is reduced to {batch}: {images:,} images then give {steps} steps an epoch")
    return replace(recipe, batch=batch)


def task_of(source: Source) -> Task:
    """What the data are for: tags where an image may have any number of classes, otherwise one class for each."""
    return Tag(source.classes) if source.multilabel else Classify(source.classes)


def wants_recomputation(
    network: dict[str, Any],
    recipe: Recipe,
    size: int,
    hardware: Hardware,
    console: Console,
    group: Group = ALONE,
) -> bool:
    """Whether the recipe says so or, left to itself, a step would keep more than half of the device's memory; said."""
    if recipe.recompute != "auto":
        return recipe.recompute == "on"
    with torch.device("meta"):
        twin = models.build(**network)
    kept = kept_for_backward(twin, (network["channels"], size, size))
    need = kept * hardware.dtype.itemsize // FLOAT32 * (recipe.micro or recipe.batch // group.world)
    have = hardware.memory()
    if have is not None and need > have / 2:
        console.print(f"a step would keep {need / 2**30:.1f} GiB of activations, more than half of the memory")
        return True
    return False


def size_of(source: Source, recipe: Recipe, channels: int) -> int:
    """Pixels a side: the recipe's or, where it leaves them open, the images' own when small."""
    return recipe.size or side_for(natural_size(source.train, channels))


def side_for(natural: int) -> int:
    """Pixels a side for images whose own are `natural`: these when small."""
    return natural if natural <= models.SMALL else PHOTOGRAPH


def require_sizes(recipe: Recipe, net: Network, size: int) -> None:
    """Raises SkipwayError when images of `size`, their small crops or their edges do not suit `net`."""
    models.require_size(recipe.model, net, size)
    if recipe.small_epochs and not net.smallest <= recipe.small <= size:
        raise SkipwayError(
            f"--small {recipe.small} must be between {net.smallest} and {size} pixels for {recipe.model}"
        )
    if recipe.crop == "pad" and recipe.pad >= size:
        raise SkipwayError(
            f"--pad {recipe.pad} is too much for images of {size} pixels: it must be less than their side"
        )


def with_variants(net: Network, recipe: Recipe, recompute: bool, console: Console) -> bool:
    """Change `net` as the recipe says; what it cannot do is said. Returns whether activations are computed again."""
    if recipe.zero_scale and not zero_last_scale(net):
        console.print(f"{recipe.model} has no unit that ends in a normalisation: zero_scale does nothing")
    if recipe.survival < 1 and not add_stochastic_depth(net, recipe.survival):
        console.print(f"{recipe.model} has no residual unit to leave out: survival does nothing")
    again = recompute and models.recompute(net)
    if recompute:
        done = "activations are computed again in the backward pass"
        refused = f"{recipe.model} has no stage to compute again: lower --batch if a step does not fit"
        console.print(done if again else refused)
    return again


def built(
    task: Task, recipe: Recipe, channels: int, size: int, pretrained: Pretrained | None, console: Console
) -> tuple[dict[str, Any], Network]:
    """`models.build`'s arguments and the network that they make, fit for images of `size` pixels a side."""
    network: dict[str, Any] = {"name": recipe.model, "classes": task.outputs, "channels": channels}
    if recipe.shortcut:
        network["shortcut"] = recipe.shortcut
    if "stem" in models.options_of(recipe.model):
        network["stem"] = (pretrained and pretrained.stem()) or models.stem_for(size)
    net = models.build(**network)
    require_sizes(recipe, net, size)
    if recipe.colour and channels != 3:
        raise SkipwayError(
            f"--colour shifts red, green and blue, and the images have {channels} channels: leave it out"
        )
    why = "the weights' own" if pretrained else f"for images of {size} pixels"
    stem = f", {network['stem']} stem ({why})" if "stem" in network else ""
    console.print(f"{recipe.model}: {sum(p.numel() for p in net.parameters()):,} parameters{stem}")
    return network, net


def prepare(source: Source, recipe: Recipe, hardware: Hardware, console: Console, group: Group = ALONE) -> Prepared:
    """Everything for a run of `recipe` on `source`, as a process of `group` needs it.

    Raises SkipwayError for what cannot be trained.
    """
    models.require_name(recipe.model)
    source = with_validation(require_learnable(source), recipe.val, recipe.seed)
    recipe = fitted_recipe(recipe, len(source.train), group.world, console)
    channels = recipe.channels or channels_of(source)
    size = size_of(source, recipe, channels)
    task = task_of(source)
    with group.in_turn():  # downloaded once a machine
        pretrained = find(recipe.model, recipe.pretrained) if recipe.pretrained else None
    network, net = built(task, recipe, channels, size, pretrained, console)
    again = with_variants(net, recipe, wants_recomputation(network, recipe, size, hardware, console, group), console)
    fed = feeding(recipe, pretrained)
    preprocessing, batches, validation = open_images(source, recipe, channels, size, fed, hardware, console, group)
    if pretrained:
        said = load(net, pretrained, recipe.model)
        console.print("; ".join([f"pretrained weights: {recipe.pretrained}", *said]))
    weights = torch.from_numpy(loss_weights(source)).to(hardware.device) if recipe.balance == "weights" else None
    net = hardware.place(net)
    return Prepared(source, recipe, network, net, again, task, weights, preprocessing, batches, validation)


def require_steps(prepared: Prepared) -> int:
    """Steps in the whole run."""
    recipe = prepared.recipe
    steps = recipe.iterations or recipe.epochs * prepared.batches.order.steps
    if not steps:
        raise SkipwayError("the run has no step: raise --epochs or lower --batch")
    return steps
