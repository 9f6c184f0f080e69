"""The page for people beside an export."""

from typing import Any

from skipway.bundle import Card
from skipway.data.preprocess import Preprocessing
from skipway.deploy.export.formats import FORMATS
from skipway.deploy.export.quantize import QuantizationResult
from skipway.tasks import Task

FITS = {
    "pad": "the whole image resized to fit, centred and padded with the mean colour",
    "squash": "the whole image resized, whatever its aspect ratio",
}


def readme(task: Task, card: Card, form: str, evidence: dict[str, Any]) -> str:
    """How to use the export, for people."""
    note, meaning = task.output_note, evidence["probabilities"]
    probabilities = f"; probabilities are {meaning}" if meaning else ""
    many = "any batch" if evidence["inputs"][0]["shape"][0] == "batch" else "one image at a time"
    inputs = ", ".join(f"`{i['name']}`, {i['type']} ({', '.join(map(str, i['shape']))})" for i in evidence["inputs"])
    outputs = ", ".join(f"`{o['name']}` ({', '.join(map(str, o['shape']))})" for o in evidence["outputs"])
    pixels = f": {pixels_of(card)}" if evidence["inputs"][0]["type"] == "uint8" else "."
    classes = f"The classes are in card.json in their order, and in {FORMATS[form].noted}." if card.classes else ""
    whole = f", and by whole results: {evidence['whole']['summary']}" if evidence["whole"] else ""
    int8 = ["", QuantizationResult(**evidence["int8"]).in_words() + "."] if evidence["int8"] else []
    return "\n".join(
        [
            f"# {card.network['name']}, {form}",
            "",
            f"{FORMATS[form].use} takes {inputs}, {many}{pixels}",
            "",
            f"It gives {outputs}, float32{probabilities}. {note}{classes}".rstrip(),
            "",
            f"Proven on {evidence['images']} in batches of {', '.join(evidence['batches'])}{whole} (evidence.json).",
            *int8,
            "",
        ]
    )


def pixels_of(card: Card) -> str:
    """How images become the network's input, for people."""
    shown = Preprocessing(**card.preprocessing)
    fitted = f"shorter side resized to {shown.resize}" if shown.fit == "crop" else FITS[shown.fit]
    return (
        f"pixels from 0 to 255{', red first' if shown.channels == 3 else ''}, {fitted} "
        f"({shown.filter}, antialiased: {shown.antialias}), fit: {shown.fit}. Normalisation is inside."
    )
