"""Reports of evaluations of generators: samples, distances, copies, paths from noise to image."""

from typing import Any

from skipway.reporting import html
from skipway.reporting.numbers import percent
from skipway.tasks.base import Finding, Records, ReportContext, Reporter
from skipway.tasks.generate import gallery
from skipway.tasks.generate.diagnosis import diagnose
from skipway.tasks.generate.evaluation import SHOWN, GenerateEvaluation

COPIES = 12  # samples shown beside their nearest training image
PREVIEWS = 4  # pictures of the training that the page shows


class GenerateReporter(Reporter):
    """For generated images."""

    def figures(self, evaluation: GenerateEvaluation) -> list[tuple[str, str, str]]:
        m = evaluation.metrics
        count = f"{m['samples']:,}\u00a0samples"
        floor = m.get("frechet_floor")
        beside = f"{floor:.3g} between training images and these" if floor is not None else count
        found = []
        if "frechet_distance" in m:
            found.append(("Fréchet distance", f"{m['frechet_distance']:.3g}", beside))
        if "class_accuracy" in m:
            note = f"of the samples; {percent(m['image_class_accuracy'])} of the images"
            found.append(("Class accuracy", percent(m["class_accuracy"]), note))
        if "copies" in m:
            found.append(("Copies", percent(m["copies"]), f"{percent(m['image_copies'])} of the images"))
        if "precision" in m:
            found += [
                ("Precision", percent(m["precision"]), "samples near an image"),
                ("Recall", percent(m["recall"]), "images near a sample"),
            ]
        if "fid" in m:
            standard = "" if m["fid_standard"] else "not the standard weights; "
            found.append(("FID", f"{m['fid']:.2f}", f"{standard}{m['samples']:,} against {m['fid_real']:,} images"))
        if "bits_per_dimension" in m:
            found.append(("Bits per dimension", f"{m['bits_per_dimension']:.3f}", bits_note(m)))
        return [*found, ("Velocity loss", f"{m['velocity_loss']:.4f}", gap_note(m))]

    def result(self, evaluation: GenerateEvaluation) -> str:
        m = evaluation.metrics
        floor = m.get("frechet_floor")
        beside = f" (training images {floor:.3g})" if floor is not None else ""
        parts = [f"{evaluation.scored.split} velocity loss {m['velocity_loss']:.4f}"]
        if "frechet_distance" in m:
            parts.append(f"Fréchet distance {m['frechet_distance']:.3g}{beside}")
        if "class_accuracy" in m:
            shown = 100 * m["class_accuracy"], 100 * m["image_class_accuracy"]
            parts.append(f"class accuracy {shown[0]:.2f} % (images {shown[1]:.2f} %)")
        if "copies" in m:
            parts.append(f"copies {100 * m['copies']:.2f} % (images {100 * m['image_copies']:.2f} %)")
        if "fid" in m:
            parts.append(f"FID {m['fid']:.2f}, KID {m['kid']:.4f}")
        if "bits_per_dimension" in m:
            parts.append(f"{m['bits_per_dimension']:.3f} bits per dimension ({bits_note(m)})")
        of = f"; features of {m['features']}" if "features" in m else ""
        return f"{', '.join(parts)}, {m['samples']:,} samples\nvelocity loss {gap_note(m)}{of}"

    def findings(self, evaluation: GenerateEvaluation, context: ReportContext) -> list[Finding]:
        return diagnose(evaluation, context)

    def curves(self) -> dict[str, tuple[str, str, float]]:
        return {"loss": ("Loss", "", 1), "velocity_loss": ("Velocity loss", "", 1)}

    def about_training(self, evaluation: GenerateEvaluation, records: Records) -> str:
        return "The velocity loss is that of the averaged weights, at times evenly spread from 0 to 1."

    def sections(self, evaluation: GenerateEvaluation, context: ReportContext) -> str:
        shown = list(evaluation.classes[:SHOWN])
        return html.render(
            "sections.html",
            "skipway.tasks.generate",
            evaluation=evaluation,
            classes=shown,
            metrics=evaluation.metrics,
            grid=gallery.samples(evaluation),
            pairs=gallery.pairs(evaluation, COPIES),
            paths=gallery.paths(evaluation),
            previews=gallery.previews(context.previews, PREVIEWS),
            measures=measures(evaluation.metrics),
        )

    def details(self, evaluation: GenerateEvaluation, context: ReportContext) -> dict[str, Any]:
        """nearest: for each sample its class, the two nearest training images' distances, and whether it is a copy."""
        return {"classes": list(evaluation.classes), "nearest": nearest_rows(evaluation)}


def gap_note(metrics: dict[str, Any]) -> str:
    """The loss on training images, in words."""
    train = metrics["train_velocity_loss"]
    return "training images are not here" if train is None else f"{train:.4f} on training images"


def bits_note(metrics: dict[str, Any]) -> str:
    """The interval of the bits per dimension, and of how many images they are."""
    count = metrics["bits_images"]
    return f"{metrics['bits_low']:.3f} to {metrics['bits_high']:.3f}, {count:,} image{'s' if count > 1 else ''}"


def measures(metrics: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(name, figure, meaning) of everything measured in the features of the classifier."""
    known = {
        "frechet_distance": ("Fréchet distance", "between normal distributions fitted to both; 0 is best"),
        "frechet_floor": ("the same of training images", "what a perfect generator would reach with as many images"),
        "kernel_distance": ("kernel distance", "squared maximum mean discrepancy, unbiased: it may fall below 0"),
        "precision": ("precision", "share of samples that are near an image"),
        "recall": ("recall", "share of images that are near a sample"),
        "density": ("density", "samples near each image, relative to those expected; may exceed 1"),
        "coverage": ("coverage", "share of images that have a sample near them"),
    }
    return [(name, f"{metrics[key]:.4g}", text) for key, (name, text) in known.items() if key in metrics]


def nearest_rows(evaluation: GenerateEvaluation) -> list[dict[str, Any]]:
    """A row for each sample; none where the training images are not known."""
    if evaluation.nearest is None:
        return []
    near = evaluation.nearest
    return [
        {
            "class": evaluation.classes[label] if label >= 0 else None,
            "training_images": near.indices[place].tolist(),
            "distances": [round(float(distance), 3) for distance in near.distances[place]],
            "copy": bool(near.copied[place]),
        }
        for place, label in enumerate(evaluation.labels.tolist())
    ]
