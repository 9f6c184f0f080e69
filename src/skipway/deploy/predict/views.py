"""Test-time augmentation in prediction: several views of an image, whose probabilities are averaged.

The views are those of `data.views`, as in evaluation: "flip" and "ten-crop".
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from skipway.data.preprocess import Preprocessing
from skipway.data.views import Views, flip, ten_crop
from skipway.deploy.engines.base import Engine, run_synchronously
from skipway.errors import SkipwayError, UnknownNameError
from skipway.tasks.base import AS_BUNDLED, Outputs, Task

VIEWS: dict[str, Callable[[Preprocessing], Views]] = {"flip": flip, "ten-crop": ten_crop}


def views_named(protocol: str, task: Task, preprocessing: Preprocessing) -> Views | None:
    """The views of a protocol; None for "center", the image as it is. Raises SkipwayError for a task whose outputs are
    not averaged, and UnknownNameError for another name."""
    if protocol == AS_BUNDLED:
        return None
    if protocol not in VIEWS:
        known = [AS_BUNDLED, *VIEWS]
        raise UnknownNameError("protocol", protocol, known, f"one of {', '.join(known)}")
    if not task.pools:
        raise SkipwayError(f"{task.annotation} of several views are not averaged: leave out --protocol")
    return VIEWS[protocol](preprocessing)


def pooled(engine: Engine, views: Views, task: Task) -> Engine:
    """`engine` on images as `views.opened` fits them; its outputs are those of their views, averaged by the task."""

    def run(images: Tensor) -> Outputs:
        waiting = [engine.submit(view.contiguous(memory_format=torch.channels_last)) for view in views.cut(images)]
        outputs = zip(*(one.result() for one in waiting), strict=True)
        return tuple(task.pool(torch.stack(views_of_output)) for views_of_output in outputs)

    return replace(engine, depth=1, submit=run_synchronously(run))
