"""Diagram of one or two networks as a self-contained page: stages, units, layers, and figures on hover.

The drawing follows the path of an image as traced by `models/analysis/trace.py`, so that any network can be drawn. A
unit is a main line, the longest path through it, downwards; parallel branches are to the right, and a shortcut is an
arc.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from markupsafe import Markup, escape

from skipway.models.analysis.network_summary import totals, traced
from skipway.models.analysis.paper_results import PUBLISHED
from skipway.models.analysis.trace import Layer
from skipway.reporting.html import environment
from skipway.reporting.numbers import MISSING, format_bytes, format_count, format_receptive_field

HEAD = 99  # the key of the section after the last map
DRAWN = 60  # units of a run up to which each is drawn; of longer runs only the figures are listed
LONG = 20  # characters; of a longer name the last part is shown
SMALLEST, GAP, NEAR = 16, 12, 3  # channels of the narrowest box; pixels between steps, and before a normalisation
ENTRY = -1  # the source of steps whose input comes from before the unit


@dataclass(frozen=True)
class Unit:
    """A part of a network: its steps, and for each the steps of the same unit that are its inputs."""

    name: str
    steps: tuple[Layer, ...]
    sources: tuple[tuple[int, ...], ...]

    @property
    def shape(self) -> tuple[Any, ...]:
        """The key of units that are drawn alike."""
        return tuple((s.kind, s.kernel, s.output[1:], i) for s, i in zip(self.steps, self.sources, strict=True))


@dataclass(frozen=True)
class UnitRun:
    """Consecutive units that are drawn alike, or that are one layer each (`chain`)."""

    units: tuple[Unit, ...]
    chain: bool

    @property
    def title(self) -> str:
        first, last = (brief(unit.name) for unit in (self.units[0], self.units[-1]))
        return first if first == last else f"{first} – {last}"

    @property
    def steps(self) -> list[Layer]:
        return [step for unit in self.units for step in unit.steps]


def brief(name: str) -> str:
    return name if len(name) <= LONG else name.rsplit(".", 1)[-1]


def page(names: Sequence[str], given: str, classes: int | None) -> str:
    """The page of one or two networks by name. Raises SkipwayError."""
    nets = [network(name, given, classes, stacked=len(names) > 1) for name in names]
    keys = sorted({key for net in nets for key in net["sections"]})
    pages = environment("skipway.reporting")
    return pages.get_template("architecture.html").render(nets=nets, keys=keys, head=HEAD, hues=hues(keys))


def hues(keys: Sequence[int]) -> dict[int, int]:
    """A hue for each section, from blue through green to red as the maps shrink."""
    span = [250, 212, 172, 132, 88, 52, 22, 350]
    return {key: span[min(i, len(span) - 1)] for i, key in enumerate(keys)}


def network(name: str, given: str, classes: int | None, stacked: bool) -> dict[str, Any]:
    """The page's data on a network; where units stand below each other (`stacked`), all have the same width."""
    net, shape, steps = traced(name, given, classes)
    sums, known = totals(net, shape, steps), PUBLISHED[name]
    sections = sections_of(units_of(steps), min(shape[1:]))
    drawings = [draw(merged(run)) for section in sections.values() for run in section]
    left, right = (max(d.left for d in drawings), max(d.right for d in drawings)) if stacked else (0, 0)
    most = sums["multiply_adds"]
    return {
        "name": name,
        "paper": known.paper,
        "input": " × ".join(map(str, shape)),
        "figures": figures(name, sums),
        "sections": {key: section(runs, left, right, most) for key, runs in sections.items()},
    }


def figures(name: str, sums: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(what, counted here, published)."""
    known = PUBLISHED[name]
    by = f" ({known.counted_by})" if known.counted_by else ""
    unused = sums["in_training_alone"]
    training = f"{format_count(unused)} of them in training only" if unused else ""
    parameters = "; ".join(filter(None, [training, published(known.parameters, by)]))
    named = "" if known.depth == sums["depth"] else f"; {known.depth} in the paper"
    first = [
        ("Depth", str(sums["depth"]), f"weighted layers{named}"),
        ("Parameters", format_count(sums["parameters"]), parameters),
        ("Multiply-adds", format_count(sums["multiply_adds"]), billions(known.multiply_adds, by)),
        ("Receptive field", format_receptive_field(sums["receptive"]), "pixels, last map"),
        ("Stored in training", format_bytes(sums["kept"]), "activations of one image, float32"),
    ]
    if known.results:
        result = known.results[0]
        top5 = "" if result.top5 is None else f"top-5 {result.top5:.2f} %; "
        place = f"{top5}{result.test}; {result.source}"
        top1 = MISSING if result.top1 is None else f"{result.top1:.2f} %"
        first.append(("Published top-1 error", top1, place))
    return first


def published(number: int | None, by: str) -> str:
    """A published count as text; empty for None."""
    return "" if number is None else f"published {number:,}{by}"


def billions(number: int | None, by: str) -> str:
    return "" if number is None else f"published {number / 1e9:g} G{by}"


# ---------------------------------------------------------------------------------------------------------------------
# Grouping


def units_of(steps: Sequence[Layer]) -> list[Unit]:
    """The steps by unit, in execution order; a join between units belongs to the unit before it."""
    owner = ""
    members: dict[str, list[int]] = {}
    named = {step.unit for step in steps if step.name}
    for index, step in enumerate(steps):
        owner = step.unit if step.unit in named or not owner else owner
        members.setdefault(owner, []).append(index)
    units = []
    for name, indices in members.items():
        place = {index: i for i, index in enumerate(indices)}
        sources = [{place.get(source, ENTRY) for source in steps[index].sources} or {ENTRY} for index in indices]
        inner = tuple(tuple(sorted(found)) for found in sources)
        units.append(Unit(name, tuple(steps[index] for index in indices), inner))
    return units


def sections_of(units: Sequence[Unit], side: int) -> dict[int, list[UnitRun]]:
    """Runs of units by how often the map was halved, HEAD for those after the last map; `side` is the image's."""
    sections: dict[int, list[UnitRun]] = {}
    halved = [
        round(math.log2(side / min(u.steps[-1].output[1:]))) if len(u.steps[-1].output) == 3 else HEAD for u in units
    ]
    end = next((i for i, key in enumerate(halved) if key == HEAD), len(units))
    if end > 1 and units[end - 1].steps[-1].output[1:] == (1, 1) and halved[end - 1] > halved[end - 2] + 1:
        halved[end - 1] = HEAD  # the mean over the last map
    for key, members in groupby(zip(halved, units, strict=True), key=lambda pair: pair[0]):
        sections.setdefault(key, []).extend(runs_of([unit for _, unit in members]))
    return sections


def runs_of(units: Sequence[Unit]) -> list[UnitRun]:
    runs = []
    for chain, members in groupby(units, key=lambda unit: len(unit.steps) == 1):
        if chain:
            runs.append(UnitRun(tuple(members), True))
        else:
            runs += [UnitRun(tuple(alike), False) for _, alike in groupby(members, key=lambda unit: unit.shape)]
    return runs


def merged(run: UnitRun) -> Unit:
    """The part of a run that is drawn: its first unit, or the whole chain."""
    if not run.chain:
        return run.units[0]
    sources = tuple((i - 1,) for i in range(len(run.units)))
    return Unit(run.title, tuple(unit.steps[0] for unit in run.units), sources)


def section(runs: Sequence[UnitRun], left: float, right: float, most: int) -> dict[str, Any]:
    """A section's title, sums and drawings, which extend at least `left` and `right` of the main line."""
    steps = [step for run in runs for step in run.steps]
    map_ = steps[-1].output
    madds = sum(step.multiply_adds for step in steps)
    return {
        "size": f"{map_[1]} × {map_[2]}" if len(map_) == 3 else "",
        "channels": map_[0],
        "slab": slab(map_),
        "units": sum(len(run.units) for run in runs if not run.chain),
        "share": madds / most if most else 0,
        "sums": sums_of(steps),
        "runs": [
            {
                "title": run.title,
                "count": len(run.units) if not run.chain else 1,
                "sums": sums_of(run.steps),
                "field": field_of(run),
                "output": "×".join(f"{side:,}" for side in run.steps[-1].output),
                "svg": draw(merged(run)).svg(left, right),
                "width": math.ceil(max(left, draw(merged(run)).left) + max(right, draw(merged(run)).right)),
                "each": each(run, left, right),
            }
            for run in runs
        ],
    }


def each(run: UnitRun, left: float, right: float) -> list[dict[str, Any]]:
    """The units of a run one by one; for more than DRAWN only the figures."""
    if run.chain or len(run.units) == 1:
        return []
    return [
        {
            "name": unit.name,
            "field": format_receptive_field(unit.steps[-1].receptive),
            "sums": sums_of(unit.steps),
            "svg": draw(unit).svg(left, right) if len(run.units) <= DRAWN else "",
        }
        for unit in run.units
    ]


def sums_of(steps: Sequence[Layer]) -> list[tuple[str, str]]:
    """Parameters and multiply-adds of several steps; zeros are left out."""
    parameters, multiply_adds = sum(s.parameters for s in steps), sum(s.multiply_adds for s in steps)
    found = (("parameters", parameters), ("multiply-adds", multiply_adds))
    return [(what, format_count(value)) for what, value in found if value]


def field_of(run: UnitRun) -> str:
    """The receptive field after the first unit, and after the last."""
    first, last = (format_receptive_field(unit.steps[-1].receptive) for unit in (run.units[0], run.units[-1]))
    return (first if first == last else f"{first} to {last}") + ("" if last == "all" else " px")


def slab(output: tuple[int, ...]) -> Markup:
    """A map as a block: its side is the map's, its depth the channels, both on a logarithmic scale."""
    depth = 3 + 3.2 * max(0.0, math.log2(output[0] / 4))
    side = 12 + 7.5 * math.log2(min(output[1:])) if len(output) == 3 else 7
    high, slant = side, side * 0.34
    front = f"M{depth:.1f} {slant:.1f}v{high:.1f}l{slant:.1f} {-slant:.1f}v{-high:.1f}z"
    side_ = f"M0 {slant:.1f}h{depth:.1f}v{high:.1f}h{-depth:.1f}z"
    top = f"M0 {slant:.1f}l{slant:.1f} {-slant:.1f}h{depth:.1f}l{-slant:.1f} {slant:.1f}z"
    width, height = depth + slant, high + slant
    return Markup(
        f'<svg class="slab" width="{width + 2:.0f}" height="{height + 2:.0f}" '
        f'viewBox="-1 -1 {width + 2:.1f} {height + 2:.1f}" aria-hidden="true">'
        f'<path class="a" d="{side_}"/><path class="b" d="{front}"/><path class="c" d="{top}"/></svg>'
    )


# ---------------------------------------------------------------------------------------------------------------------
# Drawing


@dataclass
class Box:
    """The position of a step: its middle `x`, and `top`, `width` and `height` in pixels."""

    x: float
    top: float
    width: float
    height: float

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def middle(self) -> float:
        return self.top + self.height / 2


@dataclass(frozen=True)
class Drawing:
    """SVG content; `left` and `right` are its extent from the main line."""

    marks: Markup
    left: float
    right: float
    height: float

    def svg(self, left: float, right: float) -> Markup:
        """The SVG element, extended to at least `left` and `right` of the main line, to align with others."""
        left = max(left, self.left)
        width = left + max(right, self.right)
        return Markup(
            f'<svg class="unit" width="{width:.0f}" height="{self.height:.0f}" '
            f'viewBox="{-left:.1f} 0 {width:.1f} {self.height:.1f}">{self.marks}</svg>'
        )


def width_of(step: Layer) -> float:
    """The width of a box grows with the logarithm of its channels."""
    if step.join:
        return 20
    return max(52 + 16 * max(0.0, math.log2(step.output[0] / SMALLEST)), 6.4 * len(box_text(step)) + 12)


def height_of(step: Layer) -> float:
    return {"norm": 5, "pool": 20, "add": 20, "multiply": 20, "concat": 20}.get(step.kind, 26)


def draw(unit: Unit) -> Drawing:
    """The unit's steps and the lines between them."""
    main = main_line(unit)
    lanes = lanes_of(unit, main)
    boxes = place(unit, lanes)
    bottom = max(box.bottom for box in boxes) + GAP
    arcs, right = arcs_of(unit, lanes, boxes)
    spread(unit, lanes, boxes, right)
    marks = [mark(step, box) for step, box in zip(unit.steps, boxes, strict=True)]
    left = max(box.width / 2 - box.x for box in boxes)
    right = max(right, *(box.x + box.width / 2 for box in boxes))
    return Drawing(Markup("").join([*connect(unit, lanes, boxes, bottom), *arcs, *marks]), left + 2, right + 3, bottom)


def main_line(unit: Unit) -> set[int]:
    """The longest path through the unit, by layers with weights, then by steps."""
    far: list[tuple[int, int]] = []
    back: list[int] = []
    for step, sources in zip(unit.steps, unit.sources, strict=True):
        reached, source = max(((far[s], s) if s != ENTRY else ((0, 0), ENTRY) for s in sources), key=lambda p: p[0])
        far.append((reached[0] + step.weighted, reached[1] + 1))
        back.append(source)
    used = {source for sources in unit.sources for source in sources}
    at = max((i for i in range(len(far)) if i not in used), key=lambda i: far[i])
    line = set()
    while at != ENTRY:
        line.add(at)
        at = back[at]
    return line


def lanes_of(unit: Unit, main: set[int]) -> list[int]:
    """0 for the main line; each other path has its own lane, which continues from the step that ends it."""
    lanes: list[int] = []
    ends: dict[int, int] = {}
    for index, sources in enumerate(unit.sources):
        lane = 0
        if index not in main:
            own = [lanes[s] for s in sources if s != ENTRY and lanes[s] and ends[lanes[s]] == s]
            lane = own[0] if own else max(lanes, default=0) + 1
        lanes.append(lane)
        ends[lane] = index
    return lanes


def place(unit: Unit, lanes: Sequence[int]) -> list[Box]:
    """Each step below its inputs, on the main line."""
    boxes: list[Box] = []
    for step, sources, lane in zip(unit.steps, unit.sources, lanes, strict=True):
        gap = NEAR if step.kind == "norm" and any(s != ENTRY and unit.steps[s].kind == "conv" for s in sources) else GAP
        top = max((boxes[s].bottom if s != ENTRY else 0) for s in sources) + gap
        starts = lane and not any(s != ENTRY and lanes[s] == lane for s in sources)  # and branches off above
        boxes.append(Box(0, top + (4 if starts else 0), width_of(step), height_of(step)))
    return boxes


def spread(unit: Unit, lanes: Sequence[int], boxes: Sequence[Box], right: float) -> None:
    """Move each lane to the right of `right`, and its steps to the middle of their span."""
    x = right
    for lane in sorted(set(lanes) - {0}):
        members = [i for i, other in enumerate(lanes) if other == lane]
        half = max(boxes[i].width for i in members) / 2
        x += 22 + half
        follower = [i for i, s in enumerate(unit.sources) if members[-1] in s]
        slack = boxes[follower[0]].middle - 14 - boxes[members[-1]].bottom if follower else 0
        for i in members:
            boxes[i].x = x
            boxes[i].top += max(0, slack / 2)
        x += half


def arcs_of(unit: Unit, lanes: Sequence[int], boxes: Sequence[Box]) -> tuple[list[Markup], float]:
    """The shortcuts past a part of the main line, short ones inside long ones, and how far to the right they extend."""
    arcs = [
        (boxes[s].bottom if s != ENTRY else 0, boxes[i])
        for i, sources in enumerate(unit.sources)
        for s in sources
        if is_shortcut(lanes, s, i)
    ]
    lines, drawn = (
        [],
        [(box.top, box.bottom, box.width / 2) for box, lane in zip(boxes, lanes, strict=True) if not lane],
    )
    for start, box in sorted(arcs, key=lambda arc: arc[1].middle - arc[0]):
        y, end = start + 5, box.middle
        x = max((right for top, low, right in drawn if low > y and top < end), default=0) + 14
        drawn.append((y, end, x))
        lines.append(line(turn(0, y, x, end, box.width / 2), "skip"))
    return lines, max(right for _, _, right in drawn)


def is_shortcut(lanes: Sequence[int], source: int, index: int) -> bool:
    """Whether the path from `source` to `index` starts and ends on the main line and skips a step of it."""
    starts = source == ENTRY or lanes[source] == 0
    return starts and lanes[index] == 0 and any(lanes[j] == 0 for j in range(source + 1, index))


def connect(unit: Unit, lanes: Sequence[int], boxes: Sequence[Box], bottom: float) -> list[Markup]:
    """The lines other than arcs."""
    lines = []
    for i, sources in enumerate(unit.sources):
        for s in sources:
            if is_shortcut(lanes, s, i):
                continue
            start = boxes[s] if s != ENTRY else Box(0, 0, 0, 0)
            straight = start.x == boxes[i].x
            lines.append(
                line(f"M{start.x:.1f} {start.bottom:.1f}V{boxes[i].top:.1f}" if straight else aside(start, boxes[i]))
            )
    used = {source for sources in unit.sources for source in sources}
    ends = [box for i, box in enumerate(boxes) if i not in used and lanes[i] == 0]
    return lines + [line(f"M{box.x:.1f} {box.bottom:.1f}V{bottom:.1f}") for box in ends]


def turn(x: float, y: float, out: float, end: float, to: float) -> str:
    """A path from (x, y) out to the right, down, and back to (to, end)."""
    r = min(10.0, (end - y) / 2)
    down = f"H{out - r:.1f}Q{out:.1f} {y:.1f} {out:.1f} {y + r:.1f}V{end - r:.1f}"
    return f"M{x:.1f} {y:.1f}{down}Q{out:.1f} {end:.1f} {out - r:.1f} {end:.1f}H{to:.1f}"


def aside(start: Box, end: Box) -> str:
    """A path from one lane to another: over and down to the right, down and over to the left."""
    if start.x > end.x:
        y = end.middle
        turned = f"V{y - 10:.1f}Q{start.x:.1f} {y:.1f} {start.x - 10:.1f} {y:.1f}"
        return f"M{start.x:.1f} {start.bottom:.1f}{turned}H{end.x + end.width / 2:.1f}"
    y = start.bottom + 5
    return f"M{start.x:.1f} {y:.1f}H{end.x - 10:.1f}Q{end.x:.1f} {y:.1f} {end.x:.1f} {y + 10:.1f}V{end.top:.1f}"


def line(path: str, kind: str = "line") -> Markup:
    return Markup(f'<path class="{kind}" d="{path}"/>')


SIGNS = {"add": "+", "multiply": "×", "concat": "‖"}


def mark(step: Layer, box: Box) -> Markup:
    """A step as a shape that shows its figures to pointer, keyboard and screen reader."""
    x, y, middle = box.x - box.width / 2, box.top, box.middle
    if step.join:
        shape = f'<circle cx="{box.x:.1f}" cy="{middle:.1f}" r="10"/>'
        label = f'<text x="{box.x:.1f}" y="{middle + 4.5:.1f}" class="sign">{SIGNS[step.kind]}</text>'
    else:
        round_ = {"norm": 2.5, "pool": 10}.get(step.kind, 5)
        shape = f'<rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="{round_}"/>'
        text = box_text(step)
        label = f'<text x="{box.x:.1f}" y="{middle + 3.8:.1f}">{escape(text)}</text>' if text else ""
    kind = kind_of(step)
    return Markup(f'<g class="{kind}" tabindex="0" role="img" aria-label="{escape(about(step))}">{shape}{label}</g>')


def kind_of(step: Layer) -> str:
    """The class of a shape: joins, norms, pools, linear layers, and convolutions by the size of their kernels."""
    if step.join:
        return "join"
    if step.kind == "conv":
        return "conv one" if step.kernel.startswith("1x1") else "conv"
    return step.kind if step.kind in {"norm", "pool", "linear"} else "other"


def box_text(step: Layer) -> str:
    """The text in a box: kernel and channels, as the papers write them."""
    kernel = step.kernel.replace("x", "×").replace(", stride ", " /").removesuffix(" /1")
    if step.kind == "pool":
        return f"pool {kernel.replace(' mean', '')}"
    if step.kind == "linear":
        return f"{step.output[0]:,}"
    return {"norm": "", "conv": kernel.split(" groups")[0].rsplit(",", kernel.count("groups"))[0]}.get(
        step.kind, step.kind
    )


def about(step: Layer) -> str:
    """A description of a step, separated by semicolons, which the page's script splits into lines."""
    kernel = step.kernel.replace("x", "×").replace("->", "→")
    parts = [
        step.name or {"add": "addition", "multiply": "product", "concat": "concatenation"}.get(step.kind, "pooling")
    ]
    parts += [f"{'convolution' if step.kind == 'conv' else step.kind} {kernel}".strip()] if step.name else []
    parts.append(f"output {'×'.join(map(str, step.output))}, {format_bytes(step.memory)}")
    if step.parameters:
        parts.append(f"{step.parameters:,} parameters")
    if step.multiply_adds:
        parts.append(f"{format_count(step.multiply_adds)} multiply-adds")
    parts.append(
        "receptive field: the whole image"
        if step.receptive is None
        else f"receptive field {step.receptive:,} × {step.receptive:,} pixels"
    )
    return "; ".join(parts)
