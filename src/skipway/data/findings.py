"""What an examination of data can find, what training does about each, and how to change that."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from skipway.data.heif import INSTALL

Severity = Literal["fault", "warning", "note"]


@dataclass(frozen=True)
class Category:
    """`action` says what training does about such a finding and how to have it otherwise; `remedy`, in short, what a
    summary of one line says of that too."""

    severity: Severity
    action: str
    remedy: str = ""


STOPS = "training stops; --bad skip leaves it out, --bad quarantine moves it beside the data"
REFUSED = "training refuses the folder"
KEPT = "kept as it is"

UNREADABLE = {
    "empty file": Category("fault", STOPS),
    "truncated": Category("fault", STOPS),
    "not an image": Category("fault", STOPS),
    "unreadable": Category("fault", STOPS),
    "too large": Category("fault", f"{STOPS}; or make it smaller"),
    "not a file": Category("fault", STOPS),
    "no permission": Category("fault", f"{STOPS}; or allow reading it"),
    "missing file": Category("fault", STOPS),
    "missing decoder": Category("fault", f"{STOPS}; or {INSTALL}", INSTALL),
}

CATEGORIES: dict[str, Category] = UNREADABLE | {
    "layout": Category("fault", f"{REFUSED}: put every image into its class's folder"),
    "empty class": Category("fault", f"{REFUSED}: fill or remove the class's folder"),
    "unknown class": Category("fault", f"{REFUSED}: rename the folder as train has it, or remove it"),
    "empty split": Category("fault", f"{REFUSED}: fill or remove the split's folder"),
    "one class": Category("fault", "training refuses the data: a classifier needs two classes"),
    "link loop": Category("fault", "a link into the data's own folders counts images again: remove the link"),
    "leak": Category("fault", f"{KEPT}, and figures come out too good: remove it from one of the splits"),
    "conflict": Category("fault", f"{KEPT}, under every label: remove the wrong ones"),
    "damaged": Category("warning", f"{KEPT}: it opens, part of the picture may be wrong; replace or remove it"),
    "duplicate": Category("warning", f"{KEPT}, and counts as often as it is there: remove all but one"),
    "near leak": Category("warning", f"{KEPT}: look at both; if they are one picture, remove it from one split"),
    "near conflict": Category("warning", f"{KEPT}, under every label: look, and remove the wrong ones"),
    "near duplicate": Category("warning", f"{KEPT}: look, and remove all but one"),
    "file without decoder": Category("warning", f"not read, and missing from its class: {INSTALL}", INSTALL),
    "unusable profile": Category("warning", "ignored, and colours may be wrong: save the image anew, in sRGB"),
    "imbalance": Category("warning", f"{KEPT}; --balance weights or --balance sampler evens the classes out"),
    "missing class": Category("warning", "the split says nothing about the class: add images of it"),
    "small": Category("warning", "enlarged to what the network sees: give larger images, or a smaller --size"),
    "thin": Category("warning", "the centre is cropped and the ends are lost; --fit pad keeps the whole picture"),
    "odd name": Category("warning", f"{KEPT}; names that do not print are hard to find again: rename it"),
    "link not followed": Category("warning", "images behind it are not seen: link the class's folder, or copy"),
    "ignored file": Category("note", "not read: it does not end as an image does"),
    "hidden file": Category("note", "not read: its name begins with a dot"),
    "folder like an image": Category("note", "a folder: images in it are read, it is none itself"),
    "wrong ending": Category("note", "read by its content, whatever its name ends in"),
    "turned": Category("note", "turned upright, as its EXIF orientation says"),
    "grey": Category("note", "its value is repeated for each colour; --channels 1 trains on grey"),
    "1-bit": Category("note", "black is 0 and white 255"),
    "16-bit": Category("note", "scaled to 8 bits"),
    "palette": Category("note", "looked up in its palette"),
    "transparency": Category("note", "laid over the recipe's --background, white by default"),
    "CMYK": Category("note", "converted to RGB, by its colour profile where it has one"),
    "colour profile": Category("note", "colours are converted from the profile's to sRGB"),
    "animated": Category("note", "the first frame is used"),
    "pages": Category("note", "the first page is used"),
    "data behind the picture": Category("note", "what follows the picture's end is not read"),
}


@dataclass(frozen=True)
class Finding:
    """`name`: the image, class or folder, printable; of a finding about many images, the first. count: images."""

    category: str
    severity: Severity
    name: str
    detail: str
    action: str
    count: int = 1


@dataclass(frozen=True)
class Bad:
    """An image that cannot be read: its split and its place there, its name, and why."""

    split: str
    place: int
    name: str
    why: str


@dataclass(frozen=True)
class Examination:
    """A data set examined. Plain values throughout.

    images: how many; counts: split -> class -> images; formats, modes: -> images; sides: shorter side in pixels,
    upright -> images; smallest: the name of the image with the shortest side; bad: the images that cannot be read;
    seconds: that it took; examined: when; reused: whether the result was kept from then.
    """

    name: str
    images: int
    counts: dict[str, dict[str, int]]
    formats: dict[str, int]
    modes: dict[str, int]
    sides: dict[int, int]
    smallest: str
    findings: tuple[Finding, ...]
    bad: tuple[Bad, ...]
    seconds: float
    examined: str
    reused: bool = field(default=False, compare=False)

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == severity)

    def natural_side(self) -> int:
        """The median of the shorter sides, in pixels; 0 where no image could be read."""
        before, half = 0, sum(self.sides.values()) / 2
        for side in sorted(self.sides):
            before += self.sides[side]
            if before >= half:
                return side
        return 0

    def summary(self) -> str:
        """One line: how many images, how long, and how many findings of which kind."""
        tally: dict[str, int] = {}
        for finding in (*self.of("fault"), *self.of("warning")):
            tally[finding.category] = tally.get(finding.category, 0) + finding.count
        found = ", ".join(f"{count:,} {category}{remedy_of(category)}" for category, count in tally.items())
        took = f"result of {self.examined}, files unchanged" if self.reused else f"{self.seconds:.1f} s"
        return f"checked {self.images:,} images ({took}): {found or 'no findings'}"


def remedy_of(category: str) -> str:
    """What a summary adds to the category; nothing for most."""
    remedy = CATEGORIES[category].remedy if category in CATEGORIES else ""
    return f" ({remedy})" if remedy else ""


def finding(category: str, name: str, detail: str, count: int = 1) -> Finding:
    known = CATEGORIES[category]
    return Finding(category, known.severity, printable(name), printable(detail), known.action, count)


def printable(name: str) -> str:
    """`name` on one line that any terminal takes: line breaks, control characters and stray bytes escaped."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def with_side(examination: Examination, side: int) -> Examination:
    """`examination` with a finding about the images whose shorter side falls short of `side` pixels, if any do."""
    count = sum(n for shorter, n in examination.sides.items() if shorter < side)
    if not count:
        return examination
    detail = (
        f"{count:,} of {sum(examination.sides.values()):,} images have a shorter side below {side} pixels, which the "
        f"network sees; the shortest is {min(examination.sides)}"
    )
    return replace(examination, findings=(*examination.findings, finding("small", examination.smallest, detail, count)))


def to_json(examination: Examination) -> str:
    return json.dumps(asdict(examination), ensure_ascii=False)


def from_json(text: str) -> Examination:
    """Raises ValueError, KeyError or TypeError for a text that `to_json` did not write."""
    values: dict[str, Any] = json.loads(text)
    values["findings"] = tuple(Finding(**one) for one in values["findings"])
    values["bad"] = tuple(Bad(**one) for one in values["bad"])
    values["sides"] = {int(side): count for side, count in values["sides"].items()}
    return Examination(**values)


def gathered(category: str, names: Iterable[str], shown: int = 5) -> Finding:
    """One note about many images: how many, and the first few by name."""
    listed = list(names)
    some = ", ".join(listed[:shown]) + (f" and {len(listed) - shown:,} more" if len(listed) > shown else "")
    return finding(category, listed[0], some, len(listed))
