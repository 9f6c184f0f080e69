"""Predictions written down: a table for people, JSON lines and CSV for machines; each counts the unreadable."""

import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from skipway.deploy.predictor import Prediction


def complain(prediction: Prediction) -> int:
    """Name an unreadable image on standard error; returns 1 for one, 0 for a readable one."""
    if prediction.error:
        print(f"skipway: {prediction.error}", file=sys.stderr)
    return int(bool(prediction.error))


def print_table(predictions: Iterable[Prediction], console: Console) -> int:
    """One row an image: its name and its classes with their probabilities in percent."""
    unread = 0
    table = Table("image", "class", "probability", "next", box=None, pad_edge=False)
    for prediction in predictions:
        unread += complain(prediction)
        if prediction.classes:
            (name, value), *others = prediction.classes
            rest = ", ".join(f"{other} {100 * share:.1f} %" for other, share in others)
            table.add_row(prediction.name, name, f"{100 * value:.2f} %", rest)
    if table.row_count:
        console.print(table)
    return unread


def print_json_lines(predictions: Iterable[Prediction]) -> int:
    """One JSON object a line and image, on standard output: image, classes, or error."""
    unread = 0
    for prediction in predictions:
        unread += complain(prediction)
        classes = [{"class": name, "probability": value} for name, value in prediction.classes]
        answer = {"image": prediction.name, "classes": classes}
        print(json.dumps(answer | ({"error": prediction.error} if prediction.error else {}), ensure_ascii=False))
    return unread


def write_csv(predictions: Iterable[Prediction], file: Path) -> int:
    """Rows of image, class, probability, error: the most likely class of each image."""
    unread = 0
    with file.open("x", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "class", "probability", "error"])
        for prediction in predictions:
            unread += complain(prediction)
            name, value = prediction.classes[0] if prediction.classes else ("", "")
            writer.writerow([prediction.name, name, value, prediction.error])
    return unread
