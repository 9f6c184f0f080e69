"""The issues that a data check can find, how training handles each, and how to change that."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from skipway.data.heif import INSTALL, INSTALL_JXL
from skipway.errors import printable

Severity = Literal["fault", "warning", "note"]


@dataclass(frozen=True)
class Category:
    """`action`: how training handles such an issue and how to change that; `remedy`: a short form for the one-line
    summary."""

    severity: Severity
    action: str
    remedy: str = ""


STOPS = "training stops; --bad skip leaves it out, --bad quarantine moves it to a folder next to the data"
ANNOTATION = "training stops; --bad skip leaves the image out; or correct the annotation"
REFUSED = "training refuses the folder"
KEPT = "used as it is"

UNREADABLE = {
    "empty file": Category("fault", STOPS),
    "truncated": Category("fault", STOPS),
    "not an image": Category("fault", STOPS),
    "unreadable": Category("fault", STOPS),
    "too large": Category("fault", f"{STOPS}; or make it smaller"),
    "not a file": Category("fault", STOPS),
    "no permission": Category("fault", f"{STOPS}; or change its permissions"),
    "missing file": Category("fault", STOPS),
    "missing decoder": Category("fault", f"{STOPS}; or {INSTALL}, for JPEG XL {INSTALL_JXL}", INSTALL),
}

WRONG_ANNOTATION = {
    "invalid annotation": Category("fault", ANNOTATION),
    "inverted box": Category("fault", ANNOTATION),
    "box outside the image": Category("fault", ANNOTATION),
    "unknown box class": Category("fault", ANNOTATION),
    "size mismatch": Category("fault", f"{ANNOTATION}: it may be that of another version of the image"),
    "missing image": Category("fault", "training stops; --bad skip ignores the annotation; or restore the image"),
    "image listed twice": Category("fault", "training stops; --bad skip leaves the image out; or list it once"),
    "missing mask": Category("fault", "training stops; --bad skip leaves the image out; or restore its mask"),
    "unknown mask value": Category(
        "fault", f"{ANNOTATION}; --ignore leaves out the pixels of a value, --class-names names all that are classes"
    ),
    "nothing labelled": Category("fault", "training stops; --bad skip leaves the image out; or label its pixels"),
}

CORRECTED = ("clipped box", "box without area")  # which a training says in its one line on corrections

CATEGORIES: dict[str, Category] = (
    UNREADABLE
    | WRONG_ANNOTATION
    | {
        "layout": Category("fault", f"{REFUSED}: put every image into the folder of its class"),
        "empty class": Category("fault", f"{REFUSED}: add images or remove the folder"),
        "unknown class": Category("fault", f"{REFUSED}: rename the folder to match train, or remove it"),
        "empty split": Category("fault", f"{REFUSED}: add images or remove the folder"),
        "one class": Category("fault", "training refuses the data: at least two classes are needed"),
        "no boxes": Category("fault", "training refuses the data: a detector needs boxes in the training images"),
        "link loop": Category("fault", "a link to a parent folder counts images twice: remove the link"),
        "leak": Category("fault", f"{KEPT}, and inflates the metrics: remove it from one of the splits"),
        "conflict": Category("fault", f"{KEPT}, with all its labels: remove the wrong ones"),
        "damaged": Category(
            "warning", f"{KEPT}: it can be read, but part of the image may be wrong; replace or remove it"
        ),
        "duplicate": Category("warning", f"{KEPT}, and counts several times: remove all but one"),
        "near leak": Category(
            "warning", f"{KEPT}: compare them; if they are the same picture, remove it from one split"
        ),
        "near conflict": Category("warning", f"{KEPT}, with all its labels: compare them, and remove the wrong ones"),
        "near duplicate": Category("warning", f"{KEPT}: compare them, and remove all but one"),
        "file without decoder": Category(
            "warning", f"not read, and missing from its class: {INSTALL}, for JPEG XL {INSTALL_JXL}", INSTALL
        ),
        "unusable profile": Category("warning", "ignored, and colours may be wrong: save the image again in sRGB"),
        "imbalance": Category("warning", f"{KEPT}; --balance weights or --balance sampler balances the classes"),
        "rare class": Category(
            "warning", f"{KEPT}, and easily never predicted: --balance weights gives its pixels more weight"
        ),
        "duplicate box": Category("warning", f"{KEPT}, and the object counts twice: remove one of the boxes"),
        "tiny object": Category("warning", f"{KEPT}, but there is hardly anything to see: check the annotation"),
        "small object": Category("warning", f"{KEPT}, and easily missed: use a larger --size"),
        "missing class": Category("warning", "the split cannot measure the class: add images of it"),
        "small": Category("warning", "enlarged to the input size: use larger images, or a smaller --size"),
        "thin": Category("warning", "the centre is cropped and the ends are lost; --fit pad keeps the entire image"),
        "odd name": Category("warning", f"{KEPT}; names with unprintable characters are hard to find: rename it"),
        "link not followed": Category(
            "warning", "images in the linked folder are not read: link the class folder itself, or copy the images"
        ),
        "clipped box": Category("note", "partly outside the image: the part inside is used"),
        "box without area": Category("note", "left out: a box without area is no object"),
        "no objects": Category("note", f"{KEPT}: the image teaches what is no object"),
        "ignored file": Category("note", "not read: not the suffix of an image"),
        "hidden file": Category("note", "not read: its name starts with a dot"),
        "folder like an image": Category("note", "a folder with the suffix of an image: the images in it are read"),
        "wrong ending": Category("note", "read by its content, not by its suffix"),
        "turned": Category("note", "rotated by its EXIF orientation"),
        "grey": Category("note", "repeated for each colour channel; --channels 1 trains on grey"),
        "1-bit": Category("note", "black is 0 and white 255"),
        "16-bit": Category("note", "scaled to 8 bits"),
        "palette": Category("note", "converted by its palette"),
        "transparency": Category("note", "blended with the recipe's --background, white by default"),
        "CMYK": Category("note", "converted to RGB, by its colour profile if it has one"),
        "colour profile": Category("note", "colours are converted to sRGB"),
        "animated": Category("note", "the first frame is used"),
        "pages": Category("note", "the first page is used"),
        "data behind the picture": Category("note", "data after the end of the image is not read"),
    }
)


@dataclass(frozen=True)
class Issue:
    """`name`: the image, class or folder, printable; for an issue of many images, the first. count: images."""

    category: str
    severity: Severity
    name: str
    detail: str
    action: str
    count: int = 1


@dataclass(frozen=True)
class Bad:
    """An unusable image: its split and index there, its name, and "category: reason". place: -1 for an image with wrong
    annotations, which is in no split."""

    split: str
    place: int
    name: str
    why: str


@dataclass(frozen=True)
class ObjectTable:
    """The objects of a data set with boxes. counts: split -> class -> boxes; without: split -> images without objects;
    sizes: class -> number of small, medium and large objects by COCO's limits, and median side in pixels; needed: the
    longer side in pixels that an image must be scaled to for an object to cover one cell of a detector's finest map ->
    objects."""

    counts: dict[str, dict[str, int]]
    without: dict[str, int]
    sizes: dict[str, tuple[int, int, int, float]]
    needed: dict[int, int]

    def advised_side(self) -> int:
        """The longer side of the input, a multiple of 32 pixels, at which nine of ten objects cover a cell of the
        finest map; 0 if there are no objects."""
        cumulative, most = 0, 0.9 * sum(self.needed.values())
        for side in sorted(self.needed):
            cumulative += self.needed[side]
            if cumulative >= most:
                return -(-side // 32) * 32
        return 0


@dataclass(frozen=True)
class MaskTable:
    """The pixels of a data set with masks. pixels: split -> class -> pixels; ignored: split -> pixels that are neither
    learnt nor counted; remarks: what the values of the masks were taken for."""

    pixels: dict[str, dict[str, int]]
    ignored: dict[str, int]
    remarks: tuple[str, ...]

    def share(self, split: str, name: str) -> float:
        """The share of a class among the pixels of a split that have a class; 0 if none has."""
        return self.pixels[split][name] / max(1, sum(self.pixels[split].values()))

    def ignored_share(self, split: str) -> float:
        """The share of ignored pixels among all of a split; 0 if there are none."""
        return self.ignored[split] / max(1, self.ignored[split] + sum(self.pixels[split].values()))


@dataclass(frozen=True)
class CheckResult:
    """The result of checking a data set, in plain values.

    images: number of images; counts: split -> class -> images; formats, modes: -> images; sides: shorter side in
    pixels, upright -> images; smallest: the name of the image with the shortest side; bad: unusable images; seconds:
    duration; examined: time of the check; objects: of data with boxes; masks: of data with label maps; reused: whether
    the result comes from the cache.
    """

    name: str
    images: int
    counts: dict[str, dict[str, int]]
    formats: dict[str, int]
    modes: dict[str, int]
    sides: dict[int, int]
    smallest: str
    findings: tuple[Issue, ...]
    bad: tuple[Bad, ...]
    seconds: float
    examined: str
    objects: ObjectTable | None = None
    masks: MaskTable | None = None
    reused: bool = field(default=False, compare=False)

    def of(self, severity: Severity) -> tuple[Issue, ...]:
        return tuple(f for f in self.findings if f.severity == severity)

    def natural_side(self) -> int:
        """The median of the shorter sides, in pixels; 0 if no image could be read."""
        cumulative, half = 0, sum(self.sides.values()) / 2
        for side in sorted(self.sides):
            cumulative += self.sides[side]
            if cumulative >= half:
                return side
        return 0

    def summary(self) -> str:
        """One line: the number of images, the duration, and the number of findings by category."""
        counts: dict[str, int] = {}
        for issue in (*self.of("fault"), *self.of("warning")):
            counts[issue.category] = counts.get(issue.category, 0) + issue.count
        issues = ", ".join(f"{count:,} {category}{remedy_suffix(category)}" for category, count in counts.items())
        source = f"result of {self.examined}, files unchanged" if self.reused else f"{self.seconds:.1f} s"
        return f"checked {self.images:,} images ({source}): {issues or 'no findings'}"


def remedy_suffix(category: str) -> str:
    """What the summary adds to the category; empty for most."""
    remedy = CATEGORIES[category].remedy if category in CATEGORIES else ""
    return f" ({remedy})" if remedy else ""


def issue(category: str, name: str, detail: str, count: int = 1) -> Issue:
    info = CATEGORIES[category]
    return Issue(category, info.severity, printable(name), printable(detail), info.action, count)


def with_side(result: CheckResult, side: int) -> CheckResult:
    """`result` with an issue for the images whose shorter side is less than `side` pixels, if there are any."""
    count = sum(n for shorter, n in result.sides.items() if shorter < side)
    if not count:
        return result
    detail = (
        f"{count:,} of {sum(result.sides.values()):,} images have a shorter side below {side} pixels, the input "
        f"size; the shortest is {min(result.sides)}"
    )
    return replace(result, findings=(*result.findings, issue("small", result.smallest, detail, count)))


def with_object_side(result: CheckResult, side: int) -> CheckResult:
    """`result` with an issue for the objects that are smaller than a cell of a detector's finest map in an input whose
    longer side is `side` pixels, if there are any."""
    needed = result.objects.needed if result.objects else {}
    count = sum(number for least, number in needed.items() if least > side)
    if not result.objects or not count:
        return result
    detail = (
        f"{count:,} of {sum(needed.values()):,} training objects are smaller than a cell of the finest map (8 pixels) "
        f"at --size {side}; from --size {result.objects.advised_side()} on, fewer than one in ten are"
    )
    return replace(result, findings=(*result.findings, issue("small object", result.name, detail, count)))


def to_json(result: CheckResult) -> str:
    return json.dumps(asdict(result), ensure_ascii=False)


def from_json(text: str) -> CheckResult:
    """The result from JSON. Raises ValueError, KeyError or TypeError for text that `to_json` did not write."""
    values: dict[str, Any] = json.loads(text)
    values["findings"] = tuple(Issue(**one) for one in values["findings"])
    values["bad"] = tuple(Bad(**one) for one in values["bad"])
    values["sides"] = {int(side): count for side, count in values["sides"].items()}
    if values["objects"]:
        table = ObjectTable(**values["objects"])
        sizes = {name: (small, medium, large, side) for name, (small, medium, large, side) in table.sizes.items()}
        needed = {int(side): count for side, count in table.needed.items()}
        values["objects"] = replace(table, sizes=sizes, needed=needed)
    if values["masks"]:
        pixels, ignored, remarks = (values["masks"][name] for name in ("pixels", "ignored", "remarks"))
        values["masks"] = MaskTable(pixels, ignored, tuple(remarks))
    return CheckResult(**values)


def group_issue(category: str, names: Iterable[str], listed: int = 5) -> Issue:
    """One issue for many images: their number, and the names of the first few."""
    names = list(names)
    first = ", ".join(names[:listed]) + (f" and {len(names) - listed:,} more" if len(names) > listed else "")
    return issue(category, names[0], first, len(names))
