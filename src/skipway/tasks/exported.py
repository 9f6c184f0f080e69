"""The readers of exports by task."""

from collections.abc import Callable

from skipway.errors import BundleError, SkipwayError
from skipway.tasks.detect.detected import SHOWN
from skipway.tasks.export_reader import ExportedTask, ExportReader


def classes(task: ExportedTask) -> ExportReader:
    from skipway.tasks.classify.exported import ClassReader

    return ClassReader(task.classes)


def tags(task: ExportedTask) -> ExportReader:
    from skipway.tasks.tag.thresholds import thresholds_in

    try:
        thresholds = thresholds_in({"val": task.decoding}, task.classes)
    except ValueError as error:
        raise BundleError(f"its {error}: export it again") from None
    if not thresholds:
        return classes(task)
    from skipway.tasks.tag.exported import TagReader

    return TagReader(task.classes, thresholds)


def objects(task: ExportedTask) -> ExportReader:
    from skipway.tasks.detect.exported import ObjectReader

    nms = task.decoding.get("nms")
    if type(nms) is not float or not 0 < nms <= 1:
        raise BundleError("it does not say how boxes are suppressed: export it again with this version")
    return ObjectReader(task.classes, task.fitting, nms, float(task.calibration.get("threshold", SHOWN)))


def pixels(task: ExportedTask) -> ExportReader:
    from skipway.tasks.segment.exported import PixelReader

    return PixelReader(task.classes, task.fitting)


READERS: dict[str, Callable[[ExportedTask], ExportReader]] = {
    "classify": classes,
    "tag": tags,
    "detect": objects,
    "segment": pixels,
}


def reader_for(task: ExportedTask) -> ExportReader:
    """Raises SkipwayError for a task that predicts nothing from images, and for one that this version does not have."""
    if task.name == "generate":
        raise SkipwayError("it is a generator's, which predicts nothing: use `skipway generate` with its run")
    if task.name not in READERS:
        raise BundleError(f"the task {task.name} is not one of {', '.join(READERS)}: upgrade skipway-runtime")
    return READERS[task.name](task)
