"""Sets up a run from a data set and a recipe: network, preprocessing, batches, validation images."""

from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

from skipway import models
from skipway.data.dataset import Dataset, require_learnable, with_validation
from skipway.data.decode import channels_in
from skipway.data.loader import InMemoryLoader, StreamingLoader, natural_size
from skipway.data.preprocess import Preprocessing
from skipway.errors import SkipwayError, refuse_if
from skipway.hardware import Hardware, ShapesOnly
from skipway.models.analysis.trace import FLOAT32, activation_bytes
from skipway.models.base import Network
from skipway.models.pretrained.weights import Pretrained, find, load
from skipway.models.resnet import zero_last_scale
from skipway.models.stochastic_depth import add_stochastic_depth
from skipway.tasks import Task, task_for
from skipway.training.dataloaders import Validation, build_loaders, pretrained_preprocessing
from skipway.training.distillation import Teacher, load_teacher
from skipway.training.distributed import SINGLE_PROCESS, Group
from skipway.training.fused_units import fuse_units
from skipway.training.recipes import Recipe

PHOTOGRAPH = 224  # pixels a side for images that are not small
FEWEST_STEPS = 10  # an epoch has at least as many, unless its batches would be smaller than SMALLEST_BATCH
SMALLEST_BATCH = 8  # images; batch norm works badly with fewer


@dataclass(frozen=True)
class TrainSetup:
    """Everything that a run needs before its first step. `network`: `models.build`'s arguments."""

    dataset: Dataset
    recipe: Recipe
    network: dict[str, Any]
    net: Network
    recomputed: bool
    task: Task
    preprocessing: Preprocessing
    batches: InMemoryLoader | StreamingLoader
    validation: Validation | None
    teacher: Teacher | None = None


def channels_of(dataset: Dataset) -> int:
    """The data's channels, from the first image: those of an array; 3 for image files, grey ones too."""
    return channels_in(dataset.train.items[0], dataset.train.names[0])


def fitted_batch(batch: int, images: int, world: int = 1) -> int:
    """`batch`, or a smaller one where an epoch would have fewer than FEWEST_STEPS steps, or leave out a tenth.

    It divides the images nearly evenly: an epoch leaves out fewer images than it has steps. A multiple of `world`.
    """
    largest = min(batch, max(images // FEWEST_STEPS, SMALLEST_BATCH), images)
    if largest == batch and images % batch <= images // FEWEST_STEPS:
        return batch
    fitted = images // -(-images // largest)
    return max(fitted // world, 1) * world


def fitted_recipe(recipe: Recipe, images: int, world: int, console: Console) -> Recipe:
    """`recipe` with a batch that suits the number of training images; a reduction is printed."""
    batch = fitted_batch(recipe.batch, images, world)
    if batch != recipe.batch:
        steps = images // batch
        console.print(f"batch {recipe.batch} is reduced to {batch}: {images:,} images then give {steps} steps an epoch")
    return replace(recipe, batch=batch)


def wants_recomputation(
    task: Task,
    network: dict[str, Any],
    recipe: Recipe,
    size: int,
    hardware: Hardware,
    console: Console,
    group: Group = SINGLE_PROCESS,
) -> bool:
    """Whether the recipe asks for it or, with "auto", a step would store more than half of the device's memory."""
    if recipe.recompute != "auto":
        return recipe.recompute == "on"
    with ShapesOnly():
        net = task.build(network)
    stored = activation_bytes(task.trunk(net), (network["channels"], size, size))
    needed = stored * hardware.dtype.itemsize // FLOAT32 * (recipe.micro or recipe.batch // group.world)
    available = hardware.memory()
    if available is not None and needed > available / 2:
        console.print(f"a step would store {needed / 2**30:.1f} GiB of activations, more than half of the memory")
        return True
    return False


def size_of(dataset: Dataset, recipe: Recipe, channels: int) -> int:
    """Pixels a side: the recipe's or, where it has 0, the images' own when small."""
    return recipe.size or side_for(natural_size(dataset.train, channels))


def side_for(natural: int) -> int:
    """Pixels a side for images of `natural` pixels a side: unchanged when small."""
    return natural if natural <= models.SMALL else PHOTOGRAPH


def require_sizes(recipe: Recipe, net: Network, size: int) -> None:
    """Raises SkipwayError when images of `size`, their small crops or their padding do not suit `net`."""
    models.require_size(recipe.model, net, size)
    if recipe.small_epochs and not net.smallest <= recipe.small <= size:
        raise SkipwayError(
            f"--small {recipe.small} must be between {net.smallest} and {size} pixels for {recipe.model}"
        )
    if recipe.crop == "pad" and recipe.pad >= size:
        raise SkipwayError(
            f"--pad {recipe.pad} is too large for images of {size} pixels: it must be less than their side"
        )


def apply_variants(net: Network, recipe: Recipe, recompute: bool, console: Console) -> bool:
    """Change `net` as the recipe asks; what it lacks is printed. Returns whether activations are recomputed."""
    if recipe.zero_scale and not zero_last_scale(net):
        console.print(f"{recipe.model} has no unit that ends in a normalisation: zero_scale does nothing")
    if recipe.survival < 1 and not add_stochastic_depth(net, recipe.survival):
        console.print(f"{recipe.model} has no residual unit to drop: survival does nothing")
    recomputed = recompute and models.recompute(net)
    if recompute:
        done = "activations are recomputed in the backward pass"
        refused = f"{recipe.model} has no stage to recompute: lower --batch if a step does not fit into memory"
        console.print(done if recomputed else refused)
    return recomputed


def build_network(
    task: Task, recipe: Recipe, channels: int, size: int, pretrained: Pretrained | None, console: Console
) -> tuple[dict[str, Any], Network]:
    """`models.build`'s arguments and the network that they make, for images of `size` pixels a side."""
    network: dict[str, Any] = {"name": recipe.model, "classes": task.outputs, "channels": channels}
    if recipe.shortcut:
        network["shortcut"] = recipe.shortcut
    if "stem" in task.network_options(recipe.model):
        network["stem"] = (pretrained and pretrained.stem()) or models.stem_for(size)
    if "dropout" in task.network_options(recipe.model):
        network["dropout"] = recipe.dropout
    net = task.build(network)
    require_sizes(recipe, net, size)
    if recipe.colour and channels != 3:
        raise SkipwayError(
            f"--colour shifts red, green and blue, and the images have {channels} channels: leave it out"
        )
    reason = "the weights' own" if pretrained else f"for images of {size} pixels"
    stem = f", {network['stem']} stem ({reason})" if "stem" in network else ""
    console.print(f"{recipe.model}: {sum(p.numel() for p in net.parameters()):,} parameters{stem}")
    return network, net


def setup_training(
    dataset: Dataset, recipe: Recipe, hardware: Hardware, console: Console, group: Group = SINGLE_PROCESS
) -> TrainSetup:
    """Everything for a run of `recipe` on `dataset`, as a process of `group` needs it.

    Raises SkipwayError for what cannot be trained.
    """
    task_for(dataset).require_network(recipe.model)
    dataset = with_validation(require_learnable(dataset), recipe.val, recipe.seed)
    recipe = fitted_recipe(recipe, len(dataset.train), group.world, console)
    channels = recipe.channels or channels_of(dataset)
    size = size_of(dataset, recipe, channels)
    with group.main_process_first():  # downloaded once a machine
        pretrained = find(recipe.model, recipe.pretrained) if recipe.pretrained else None
    task = task_for(dataset)
    refuse_if(recipe.patience and dataset.val is None, "--patience stops by val, and there is none", "give --val 0.1")
    refuse_if(recipe.teacher and not task.distils, f"--teacher is not for {task.annotation}", "leave it out")
    unsuited = recipe.criterion and recipe.criterion not in task.criteria
    refuse_if(unsuited, f"--criterion {recipe.criterion} is not for {task.annotation}", "leave it out")
    refuse_if(
        recipe.mosaic and not task.combines_images, f"--mosaic is for boxes, not for {task.annotation}", "leave it out"
    )
    task = task.for_training(dataset, vars(recipe), hardware.device)
    network, net = build_network(task, recipe, channels, size, pretrained, console)
    recompute = wants_recomputation(task, network, recipe, size, hardware, console, group)
    recomputed = apply_variants(net, recipe, recompute, console)
    reference = pretrained_preprocessing(recipe, pretrained)
    preprocessing, batches, validation = build_loaders(
        dataset, task, recipe, channels, size, reference, hardware, console, group
    )
    if pretrained:
        notes = load(net, pretrained, recipe.model)
        console.print("; ".join([f"pretrained weights: {recipe.pretrained}", *notes]))
    net = hardware.place(net)
    if hardware.fused_units:
        fuse_units(net)
    task = task.configured(network, preprocessing, None)
    teacher = load_teacher(recipe, task, preprocessing, hardware) if recipe.teacher else None
    if teacher:
        console.print(teacher.describe(), soft_wrap=True, markup=False)
    return TrainSetup(dataset, recipe, network, net, recomputed, task, preprocessing, batches, validation, teacher)


def require_steps(setup: TrainSetup) -> int:
    """Steps in the whole run. Raises SkipwayError where there are none."""
    recipe = setup.recipe
    steps = recipe.iterations or recipe.epochs * setup.batches.order.steps
    if not steps:
        raise SkipwayError("the run has no steps: raise --epochs or lower --batch")
    return steps
