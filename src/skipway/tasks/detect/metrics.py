"""Average precision accumulated over batches and processes."""

from collections.abc import Sequence
from typing import Self

from skipway.data.box_targets import NO_LABEL, Boxes, from_images
from skipway.tasks.base import Outputs
from skipway.tasks.detect.detected import Detected
from skipway.tasks.detect.detections import Decoder


class DetectMetrics:
    """COCO's twelve figures of the boxes; each image counts once, in whichever process it was."""

    def __init__(self, decoder: Decoder, classes: Sequence[str]) -> None:
        self.decoder, self.classes = decoder, classes
        self.found: list[Detected] = []
        self.objects: list[list[tuple]] = []
        self.sizes: list[tuple[int, int]] = []

    def update(self, outputs: Outputs, targets: Boxes) -> None:
        self.found += self.decoder.batch(outputs, targets.sizes)
        for boxes, labels, crowd, areas, size in zip(*targets, strict=True):
            held = labels != NO_LABEL
            rows = zip(
                boxes[held].tolist(), labels[held].tolist(), crowd[held].tolist(), areas[held].tolist(), strict=True
            )
            self.objects.append([(*row, None) for row in rows])
            self.sizes.append((int(size[0]), int(size[1])))

    def merge(self, others: Sequence[Self]) -> None:
        for other in others:
            self.found += other.found
            self.objects += other.objects
            self.sizes += other.sizes

    def compute(self) -> dict[str, float]:
        from skipway.tasks.detect.coco import evaluate  # faster-coco-eval, which prediction does not need

        figures = evaluate(from_images(self.objects, self.sizes), self.found, self.classes).figures
        return {name: figures[name] for name in ("ap", "ap50", "ap75")}
