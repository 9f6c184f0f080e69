"""Networks and the machine as rows for people: what `list`, `show` and `doctor` print."""

import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from skipway import hardware, models
from skipway.errors import UnknownNameError
from skipway.models.contract import classes_of
from skipway.models.layers import layer_table


def network_rows(pattern: str) -> list[dict[str, Any]]:
    """A row for each network whose name matches. Raises UnknownNameError when none does."""
    names = models.list_models(pattern)
    if not names:
        raise UnknownNameError("model", pattern, models.NETWORKS, "`skipway list` names all of them")
    rows = []
    for name in names:
        with torch.device("meta"):
            net = models.build(name)
        parameters = sum(p.numel() for p in net.parameters())
        rows.append({"name": name, "parameters": parameters, "classes": classes_of(net), "smallest": net.smallest})
    return rows


def network_layers(name: str, size: int, classes: int | None, channels: int) -> dict[str, Any]:
    """The layers of `name` and their totals; size 0 is 224, or 32 for a network with a small stem."""
    with torch.device("meta"):
        net = models.build(name, classes, channels)
    size = size or (224 if net.smallest > 8 else 32)
    models.require_size(name, net, size)
    rows = layer_table(net, channels, size)
    return {
        "name": name,
        "input": [channels, size, size],
        "layers": [asdict(row) for row in rows],
        "parameters": sum(p.numel() for p in net.parameters()),
        "multiply_adds": sum(row.multiply_adds for row in rows),
    }


def machine_rows() -> list[dict[str, Any]]:
    """What was found and decided, with the reason of each decision."""
    decided = hardware.decide()
    rows = [{"what": k, "value": v, "why": decided.reasons[k]} for k, v in decided.summary().items()]
    rows.append({"what": "python", "value": platform.python_version(), "why": ""})
    return rows + [{"what": p, "value": version(p), "why": ""} for p in ("skipway", "torch", "torchvision")]


def print_rows(rows: list[dict[str, Any]], console: Console) -> None:
    """Dicts of equal keys as a table."""
    table = Table(box=None, pad_edge=False)
    for key, value in rows[0].items():
        table.add_column(key, justify="right" if isinstance(value, int) else "left")
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    console.print(table)


def print_layers(found: dict[str, Any], console: Console) -> None:
    """`network_layers` as a table with its totals below."""
    shown = [
        {
            "layer": row["name"],
            "kind": row["kind"],
            "kernel": row["kernel"],
            "output": "x".join(map(str, row["output"])),
            "parameters": row["parameters"],
            "multiply-adds": row["multiply_adds"],
        }
        for row in found["layers"]
    ]
    print_rows(shown, console)
    size = "x".join(map(str, found["input"]))
    console.print(
        f"{found['name']} at {size}: {found['parameters']:,} parameters, "
        f"{found['multiply_adds'] / 1e9:.3f} G multiply-adds"
    )
