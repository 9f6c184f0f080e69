"""What notebooks show of runs, networks, evaluations, predictions and generated images.

HTML of one look, in the notebook's own colours, light or dark, in which all text is escaped. It is made of what an
object already holds: nothing is computed, and of images small copies are shown. Networks are modules of torch, whose
text IPython shows in full: `register` has it show their parts instead.
"""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from skipway.errors import printable

if TYPE_CHECKING:
    from torch import nn

SIDE = 320  # pixels of the longer side of an image that is shown
MOST_BYTES, MOST_PIXELS = 50_000_000, 100_000_000  # of an image's file, to be opened for a notebook
ABSENT = -1  # of COCO's figures: there are no such objects
ROWS = 12  # shown of a table; of the others their number is told
# Okabe and Ito's colours, which are safe for colour blindness and legible on light and on dark ground
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#0072B2")
FRAME = (
    "display:inline-block;max-width:44em;box-sizing:border-box;padding:1em 1.25em;border:1px solid "
    "rgba(128,128,128,.5);border-radius:.6em;color:inherit;background:none;line-height:1.4"
)
TABLE = "margin:0;border:0;border-collapse:collapse;background:none;color:inherit;font-size:inherit"
HEAD = "text-align:left;font-weight:400;padding:.2em 2em .2em 0;border:0;opacity:.75;overflow-wrap:anywhere"
CELL = "text-align:left;padding:.2em 0;border:0;overflow-wrap:anywhere"
FAINT = "opacity:.75"
Rows = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Box:
    """A box in an image: its label, and left, top, right and bottom in pixels."""

    label: str
    sides: tuple[float, float, float, float]


def text_of(value: object) -> str:
    """A value as HTML, with its control characters as escapes."""
    return escape(printable(str(value)))


def frame(*parts: str) -> str:
    return f'<div style="{FRAME}">\n' + "\n".join(part for part in parts if part) + "\n</div>"


def line(html: str, style: str) -> str:
    return f'<div style="{style}">{html}</div>' if html else ""


def table(rows: Rows) -> str:
    """Names and values; the first ROWS, and how many more there are."""
    every = list(rows)
    shown = every[:ROWS] if len(every) > ROWS + 1 else every
    lines = [
        f'<tr style="background:none"><th scope="row" style="{HEAD}">{text_of(name)}</th>'
        f'<td style="{CELL}">{text_of(value)}</td></tr>'
        for name, value in shown
    ]
    more = line(f"and {len(every) - len(shown):,} more", FAINT) if len(every) > len(shown) else ""
    return f'<table style="{TABLE}"><tbody>\n' + "\n".join(lines) + f"\n</tbody></table>{more}" if lines else ""


# ---------------------------------------------------------------------------------------------------------------------
# What is shown


def summary(
    name: str, of: str, rows: Rows, figure: str = "", note: str = "", link: str | None = None, joined: str = "on"
) -> str:
    """A name, what it is of, a main figure with a note, rows of details, and the address of a report."""
    head = f"<b>{text_of(name)}</b>"
    if of:
        head += f' <span style="{FAINT}">{text_of(joined)}</span> <bdi>{text_of(of)}</bdi>'
    report = f'<a href="{escape(link)}" style="color:inherit">Report</a>' if link else ""
    return frame(
        f"<div>{head}</div>",
        line(text_of(figure), "font-size:2em;font-weight:600;line-height:1.3"),
        line(text_of(note), f"{FAINT};margin-bottom:.6em"),
        table(rows),
        line(report, "margin-top:.6em"),
    )


def evaluation(data: str, split: str, figure: str, metrics: Mapping[str, Any]) -> str:
    """The results on a split: the main figure as text, and every number among the metrics."""
    numbers = {
        name.replace("_", " "): value
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "n" and value != ABSENT
    }
    rows = [(name, f"{value:,}" if isinstance(value, int) else f"{value:.4g}") for name, value in numbers.items()]
    head, _, rest = printable(figure).partition(" (")
    note = f"{split}, {metrics['n']:,} images" + (f", {rest.removesuffix(')')}" if rest else "")
    return summary("Evaluation", data, rows, head, note)


def prediction(
    name: str,
    error: str,
    answers: Rows,
    size: tuple[int, int] = (0, 0),
    boxes: Sequence[Box] = (),
    labels: np.ndarray | None = None,
    colours: np.ndarray | None = None,
) -> str:
    """An image, where `name` is the path of one, with what was found in it, or why it could not be read.

    size: its height and width; boxes: in its own pixels; labels: uint8 (H, W), the class of each pixel; colours: uint8
    (classes, 3).
    """
    picture = "" if error else thumbnail(name)
    drawn = overlay(picture, size, boxes, labels, colours) if picture or labels is not None else ""
    return frame(
        line(drawn, "margin-bottom:.6em"), line(text_of(name), FAINT), line(text_of(error), ""), table(answers)
    )


def picture(pixels: np.ndarray, caption: str) -> str:
    """An image uint8 (H, W, C) of 1 or 3 channels, small ones enlarged without smoothing, and a line about it."""
    image = Image.fromarray(pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., 0])
    enlarged = max(1, 128 // max(image.size))
    size = f'width="{image.width * enlarged}" height="{image.height * enlarged}"'
    shown = f'<img src="{data_uri(image)}" {size} alt="" style="image-rendering:pixelated;max-width:100%">'
    return frame(shown, line(text_of(caption), FAINT))


def network(net: "nn.Module") -> str:
    """The parts of a network in order, with their numbers of parameters."""
    rows = [
        (name, f"{kinds(part)}, {parameters(part):,} parameters" if parameters(part) else kinds(part))
        for name, part in net.named_children()
    ]
    smallest = getattr(net, "smallest", None)
    note = f"{parameters(net):,} parameters" + (f", images of at least {smallest} pixels" if smallest else "")
    return summary(type(net).__name__, "", rows, "", note)


# ---------------------------------------------------------------------------------------------------------------------
# Parts of them


def parameters(net: "nn.Module") -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def kinds(part: "nn.Module") -> str:
    """What a part of a network consists of: its class, or, of a sequence, those of its items."""
    if type(part).__name__ not in ("Sequential", "ModuleList"):
        return type(part).__name__
    names = [type(child).__name__ for child in part.children()]
    return ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))


def thumbnail(name: str) -> str:
    """A small copy of the image file `name` as a data URI, upright; empty for what is no readable image."""
    try:
        if Path(name).stat().st_size > MOST_BYTES:
            return ""
        with Image.open(name) as image:
            if image.width * image.height > MOST_PIXELS:
                return ""
            image.draft("RGB", (SIDE, SIDE))
            image.thumbnail((SIDE, SIDE))
            return data_uri(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""


def data_uri(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG" if max(image.size) <= 128 or image.mode == "RGBA" else "JPEG", quality=85)
    kind = "png" if stream.getvalue().startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def overlay(
    image: str, size: tuple[int, int], boxes: Sequence[Box], labels: np.ndarray | None, colours: np.ndarray | None
) -> str:
    """The image with boxes or a label map over it; size: height and width, which boxes are in."""
    if not boxes and labels is None:
        return f'<img src="{image}" alt="" style="max-width:100%">'
    height, width = size
    scale = min(1.0, SIDE / max(size))
    whole = f'width="{width}" height="{height}" preserveAspectRatio="none"'
    parts = [f'<image href="{image}" {whole}/>'] if image else []
    if labels is not None and colours is not None:
        step = max(1, max(size) // SIDE)
        drawn = data_uri(Image.fromarray(colours[labels[::step, ::step]]).convert("RGBA"))
        parts.append(f'<image href="{drawn}" {whole} style="opacity:.55;image-rendering:pixelated"/>')
    names = list(dict.fromkeys(box.label for box in boxes))
    parts += [outline(box, COLOURS[names.index(box.label) % len(COLOURS)], 13 / scale) for box in reversed(boxes)]
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{round(width * scale)}" height="{round(height * scale)}" '
        f'role="img" aria-label="image" style="max-width:100%;height:auto">{"".join(parts)}</svg>'
    )


def outline(box: Box, colour: str, letters: float) -> str:
    """A box and its label inside it, whose letters are so many pixels of the image high."""
    left, top, right, bottom = box.sides
    style = f'fill="none" stroke="{colour}" stroke-width="2" vector-effect="non-scaling-stroke"'
    edge = f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" {style}/>'
    halo = f'fill="{colour}" stroke="#111" stroke-width="{letters / 5:.1f}" paint-order="stroke"'
    place = f'x="{left + letters / 4:.1f}" y="{top + letters:.1f}" font-size="{letters:.1f}"'
    return f'{edge}<text {place} font-family="sans-serif" {halo}>{text_of(box.label)}</text>'


def register() -> None:
    """Have the IPython in which this process runs show networks by `network`; without one, do nothing."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None and shell.display_formatter is not None:
        shell.display_formatter.formatters["text/html"].for_type_by_name("skipway.models.base", "Network", network)
