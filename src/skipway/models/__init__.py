"""Every network by name: `build(name, ...)` makes one, `list_models(pattern)` lists them.

The same for object detection, `create_detector` and `list_detectors`, for semantic segmentation, `create_segmenter`
and `list_segmenters`, and for image generation, `create_generator` and `list_generators`.
"""

import os

from skipway.errors import SkipwayError, UnknownNameError
from skipway.hardware import ShapesOnly
from skipway.models.base import Network
from skipway.models.dense_networks import BODY_OF, create_dense, is_dense
from skipway.models.detection.registry import (
    DETECTORS,
    create_detector,
    has_masks,
    is_detector,
    list_detectors,
    nms_threshold,
    require_detector,
    suppresses,
)
from skipway.models.generation.registry import (
    create_generator,
    is_generator,
    list_generators,
    require_generator,
)
from skipway.models.generation.unet import GENERATORS
from skipway.models.networks import (
    NETWORKS,
    SMALL,
    create,
    is_known,
    list_models,
    options_of,
    recompute,
    register,
    require_name,
    require_size,
    stem_for,
)
from skipway.models.segmentation.registry import (
    SEGMENTERS,
    create_segmenter,
    is_segmenter,
    list_segmenters,
    require_segmenter,
)

__all__ = [
    "BODY_OF",
    "DETECTORS",
    "GENERATORS",
    "NETWORKS",
    "SEGMENTERS",
    "SMALL",
    "build",
    "create_dense",
    "create_detector",
    "create_generator",
    "create_segmenter",
    "has_masks",
    "is_dense",
    "is_detector",
    "is_generator",
    "is_known",
    "is_segmenter",
    "list_detectors",
    "list_generators",
    "list_models",
    "list_segmenters",
    "nms_threshold",
    "options_of",
    "recompute",
    "register",
    "require_detector",
    "require_generator",
    "require_known",
    "require_name",
    "require_segmenter",
    "require_size",
    "stem_for",
    "suppresses",
]


def require_known(name: str) -> None:
    """Raises UnknownNameError, with the closest name, if no network of any task has that name."""
    if not is_dense(name) and not is_known(name) and not is_generator(name):
        raise UnknownNameError(
            "model", name, [*NETWORKS, *BODY_OF, *GENERATORS], "`skipway list` shows all names of classifiers"
        )


def build(
    name: str,
    classes: int | None = None,
    channels: int = 3,
    stem: str | None = None,
    shortcut: str | None = None,
    pretrained: str | os.PathLike[str] | None = None,
) -> Network:
    """The network called `name`, initialised using the global random state, or with `pretrained` weights.

    `classes`, `stem` ("imagenet" or "small") and `shortcut` ("A", "B" or "C") are the paper's if None; `channels` is
    the number of image channels. `pretrained` is as in `models.pretrained.weights.locate`: "tv_v2" or
    "resnet50.tv_v2", hf:owner/name, a file or a bundle; `classes` then defaults to the weights' classes, and any other
    number gives a newly initialised classifier. Raises SkipwayError for an unknown name or an option out of range.
    """
    require_name(name)
    if pretrained is not None:
        if not isinstance(pretrained, str | os.PathLike):
            raise SkipwayError(
                f"pretrained must be a string or path, not {pretrained}: `skipway weights list` shows the names"
            )
        return build_pretrained(name, classes, channels, stem, shortcut, os.fspath(pretrained))
    return create(name, classes, channels, stem, shortcut)


def build_pretrained(
    name: str, classes: int | None, channels: int, stem: str | None, shortcut: str | None, weights: str
) -> Network:
    """As `build`; classes and stem default to those of the weights."""
    from skipway.models.pretrained.weights import (  # imports torchvision's models, which most networks do not need
        find,
        load,
    )

    pretrained = find(name, weights)
    weights_stem = pretrained.stem() if "stem" in options_of(name) else None
    with ShapesOnly():
        classes = classes or pretrained.classes(create(name))
    net = create(name, classes, channels, stem or weights_stem, shortcut)
    load(net, pretrained, name)
    return net
