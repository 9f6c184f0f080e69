"""Whether two engines give every pixel the same class."""

from dataclasses import dataclass

from skipway.tasks.base import Outputs

# between the two best scores, in deviations of all scores, within which a pixel is undecided; else 0.1
MARGIN = {"float32": 2e-3, "float16": 0.02}
SHARE = {"float32": 1.0, "float16": 0.999}  # of the decided pixels that must agree, by precision; else 0.98
DECIDED = 0.5  # share of the pixels that must be decided, for there to be an answer


@dataclass(frozen=True)
class SegmentParity:
    """Of `pixels` pixels in `images` images, `undecided` have two classes within a margin; of the others, `differing`
    got another class."""

    images: int
    pixels: int
    undecided: int
    differing: int
    share: float

    @property
    def agrees(self) -> bool:
        decided = self.pixels - self.undecided
        return decided >= DECIDED * self.pixels and self.differing <= (1 - self.share) * decided

    def summary(self) -> str:
        return (
            f"{self.differing:,} of {self.pixels - self.undecided:,} pixels differ "
            f"({100 * self.share:g} % must agree), {self.undecided:,} with two classes nearly equal left out"
        )


def compare(expected: Outputs, found: Outputs, precision: str) -> SegmentParity:
    """Scores (N, C, H, W) of two engines for the same images."""
    scores, other = expected[0].float(), found[0].float()
    best = scores.topk(min(2, scores.shape[1]), dim=1)
    finite = other.isfinite().all(1)
    # scores that are not finite agree with nothing
    decided = (best.values[:, 0] - best.values[:, -1] > MARGIN.get(precision, 0.1) * float(scores.std())) | ~finite
    same = (other.argmax(1) == best.indices[:, 0]) & finite
    differing = int((decided & ~same).sum())
    return SegmentParity(len(decided), decided.numel(), int((~decided).sum()), differing, SHARE.get(precision, 0.98))
