"""Signs that a generator learnt too little, repeats its training images, or ignores classes."""

from collections.abc import Iterator

from skipway.reporting.numbers import percent
from skipway.tasks.base import Finding, ReportContext
from skipway.tasks.generate.evaluation import GenerateEvaluation

FAR = 10.0  # times the distance of training images, above which samples are poor
MORE = 0.05  # share of copies beyond that of the images, above which the network repeats what it has seen
GAP = 1.2  # held-out loss over that on training images, above which it remembers them
UNSURE = 0.2  # of the class accuracy of the images, below which samples lose their class
FEW = 1_000  # images, of fewer of which a generator soon makes copies


def diagnose(evaluation: GenerateEvaluation, context: ReportContext) -> list[Finding]:
    """Problems of the network, the gravest first."""
    return [*copies(evaluation, context), *poor(evaluation), *lost_classes(evaluation), *few_images(context)]


def copies(evaluation: GenerateEvaluation, context: ReportContext) -> Iterator[Finding]:
    m = evaluation.metrics
    if m.get("copies", 0.0) > m.get("image_copies", 1.0) + MORE:
        detail = (
            f"{percent(m['copies'])} of the samples are copies of training images, by the distances to the nearest and "
            f"the second nearest; of the images of {evaluation.scored.split} {percent(m['image_copies'])} are"
        )
        advice = ("more images", "a shorter training (--iterations), or a smaller network", "--dropout 0.2")
        yield Finding("warning", "the network repeats its training images", detail, advice)
    elif m["train_velocity_loss"] and m["velocity_loss"] > GAP * m["train_velocity_loss"]:
        detail = (
            f"the velocity loss is {m['velocity_loss']:.4f} on {evaluation.scored.split} and "
            f"{m['train_velocity_loss']:.4f} on training images"
        )
        advice = ("a shorter training", "more images", "--dropout 0.2")
        yield Finding("warning", "the network remembers its training images", detail, advice)


def poor(evaluation: GenerateEvaluation) -> Iterator[Finding]:
    m = evaluation.metrics
    floor = m.get("frechet_floor")
    if floor and m["frechet_distance"] > FAR * floor:
        detail = (
            f"the Fréchet distance is {m['frechet_distance']:.3g}, {m['frechet_distance'] / floor:.0f} times that of "
            f"training images ({floor:.3g})"
        )
        yield Finding("warning", "samples differ much from the images", detail, ("a longer training (--iterations)",))


def lost_classes(evaluation: GenerateEvaluation) -> Iterator[Finding]:
    m = evaluation.metrics
    if "class_accuracy" in m and m["class_accuracy"] < m["image_class_accuracy"] - UNSURE:
        detail = (
            f"the classifier finds the class of {percent(m['class_accuracy'])} of the samples, and of "
            f"{percent(m['image_class_accuracy'])} of the images"
        )
        advice = ("a longer training", "guidance when generating (--guidance 2)")
        yield Finding("warning", "samples lose their class", detail, advice)


def few_images(context: ReportContext) -> Iterator[Finding]:
    count = context.card.data.get("counts", {}).get("train", FEW)
    if count < FEW:
        detail = f"{count:,} training images are few: a network that trains long enough repeats them"
        advice = ("compare the share of copies with that of the images",)
        yield Finding("warning", "few images to learn from", detail, advice)
