"""Signs that a segmenter learnt nothing, never predicts a class, or was not tested on one."""

from collections.abc import Iterator, Sequence

from skipway.reporting.numbers import interval, percent
from skipway.reporting.svg import legible
from skipway.tasks.base import Finding, ReportContext
from skipway.tasks.causes import causes
from skipway.tasks.segment.evaluation import SegmentEvaluation

FEW_STEPS = 500
NAMED = 3  # classes named in a sentence
CHECK = "label maps may be wrong or of other images: `skipway check DATA --preview FILE` draws them"


def diagnose(evaluation: SegmentEvaluation, context: ReportContext) -> list[Finding]:
    """Problems of the network and of the images that it was evaluated on, errors first."""
    learnt = list(learnt_nothing(evaluation, context))
    # a network that learnt nothing predicts few classes, which is no second problem
    return learnt or [*never_predicted(evaluation), *absent(evaluation)]


def constant_miou(evaluation: SegmentEvaluation) -> tuple[str, float, float]:
    """The class with the most pixels, and mean IoU and pixel accuracy of predicting it for every pixel: its IoU is its
    share of the pixels, and that of every other class with pixels 0."""
    rows = [row for row in evaluation.per_class if row["pixels"]]
    most = max(rows, key=lambda row: row["pixels"])
    return most["class"], most["share"] / len(rows), most["share"]


def learnt_nothing(evaluation: SegmentEvaluation, context: ReportContext) -> Iterator[Finding]:
    m = evaluation.metrics
    if not m["pixels"] or evaluation.confusion.any(1).sum() < 2:
        return
    name, constant, _ = constant_miou(evaluation)
    if m["miou_interval"][0] > constant:
        return
    detail = (
        f"mean IoU is {percent(m['miou'])} (95\u00a0% interval {interval(m['miou_interval'])}); predicting "
        f"'{legible(name)}' for every pixel gives {percent(constant)}"
    )
    title = "The network is no better than predicting one class"
    yield Finding("error", title, detail, causes(context, FEW_STEPS, CHECK))


def never_predicted(evaluation: SegmentEvaluation) -> Iterator[Finding]:
    missed = [row for row in evaluation.per_class if row["pixels"] and not row["predicted_share"]]
    if missed:
        share = percent(sum(row["share"] for row in missed))
        detail = f"no pixel is predicted as {named([row['class'] for row in missed])}, which {share} of the pixels are"
        advice = "rare classes are outweighed in the loss: train with --balance weights, or longer; or add such images"
        yield Finding("warning", "Some classes are never predicted", detail, (advice,))


def absent(evaluation: SegmentEvaluation) -> Iterator[Finding]:
    missing = [row["class"] for row in evaluation.per_class if not row["pixels"]]
    if missing:
        split = evaluation.scored.split
        detail = f"no pixel of {split} is {named(missing)}: nothing is known of how well that is found"
        if any(row["predicted_share"] for row in evaluation.per_class if not row["pixels"]):
            detail += "; where it is predicted nevertheless, its IoU of 0 lowers the mean"
        advice = f"{split} is small, or was chosen without them: add such images to it, or evaluate on others"
        yield Finding("warning", f"Some classes do not occur in {split}", detail, (advice,))


def named(classes: Sequence[str]) -> str:
    """The first classes by name, and how many more there are."""
    shown = [f"'{legible(name)}'" for name in classes[:NAMED]]
    if len(classes) > NAMED:
        return f"{', '.join(shown)} or {len(classes) - NAMED} others"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"
