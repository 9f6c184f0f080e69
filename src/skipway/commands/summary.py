"""Networks and the machine as rows for people: what `list`, `show` and `doctor` print."""

import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table

from skipway import hardware, models
from skipway.errors import SkipwayError, UnknownNameError
from skipway.hardware import ShapesOnly
from skipway.models.analysis.flops import COUNTED
from skipway.models.analysis.network_summary import totals, traced
from skipway.models.analysis.paper_results import CIFAR10, CIFAR100, CROP_320, ONE_CROP, PUBLISHED, TEN_CROPS, Result
from skipway.models.analysis.trace import layers
from skipway.models.base import classes_of
from skipway.reporting.numbers import MISSING, format_bytes, format_count, format_receptive_field

MARKS = {ONE_CROP: "", CIFAR10: "", TEN_CROPS: "¹", CROP_320: "²", CIFAR100: "³"}
FEW = 12  # rows, of which `list` also names the weights

# ---------------------------------------------------------------------------------------------------------------------
# list


def network_rows(pattern: str) -> list[dict[str, Any]]:
    """A row for each classification network whose name matches. Raises UnknownNameError when none does, or SkipwayError
    with the networks of other tasks that do."""
    from skipway.models.pretrained.registry import WEIGHTS  # here, since it brings torchvision, and `show` needs none

    names = models.list_models(pattern)
    dense = [*models.list_detectors(pattern), *models.list_segmenters(pattern)]
    if not names and (others := [*dense, *models.list_generators(pattern)]):
        raise SkipwayError(f"no classification network matches {pattern}, but others do: {', '.join(others)}")
    if not names:
        raise UnknownNameError("model", pattern, models.NETWORKS, "`skipway list` names all of them")
    return [network_row(name) | {"weights": [w.name for w in WEIGHTS.values() if w.net == name]} for name in names]


def network_row(name: str) -> dict[str, Any]:
    """Plain values; what nobody published is None. Errors are in per cent."""
    known = PUBLISHED[name]
    parameters, multiply_adds = COUNTED.get(name) or count(name)
    result = known.results[0] if known.results else Result("", None, None, "")
    return {
        "name": name,
        "paper": known.paper.short,
        "arxiv": known.paper.arxiv,
        "depth": known.depth,
        "parameters": parameters,
        "multiply_adds": multiply_adds,
        "size": known.size,
        "test": result.test,
        "top1_error": result.top1,
        "top5_error": result.top5,
        "source": result.source,
    }


def count(name: str) -> tuple[int, int]:
    """Parameters and multiply-adds of one image of the paper's size."""
    with ShapesOnly():
        net = models.build(name)
    steps = layers(net, (3, PUBLISHED[name].size, PUBLISHED[name].size))
    return sum(step.parameters for step in steps), sum(step.multiply_adds for step in steps)


def print_networks(rows: list[dict[str, Any]], console: Console) -> None:
    """`network_rows` as a table for each size of image; the names of weights where the rows are few."""
    for size, words in ((224, "ImageNet, 224 pixels"), (32, "CIFAR, 32 pixels")):
        if of_size := [row for row in rows if row["size"] == size]:
            console.print(words, style="bold")
            print_of_size(of_size, console)
            used = {row["test"] for row in of_size}
            usual = "top-1/top-5 of one crop" if size == 224 else "on CIFAR-10's test images"
            marks = [f"{mark} {test}" for test, mark in MARKS.items() if mark and test in used]
            console.print("; ".join([f"error: {usual}", *marks]) + "\n")
    if len(rows) <= FEW:
        for row in rows:
            if row["weights"]:
                console.print(f"weights: {', '.join(row['weights'])}")


def print_of_size(rows: list[dict[str, Any]], console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("paper")
    for heading in ("depth", "params", "mult-\nadds", "error %", "weights"):
        table.add_column(heading, justify="left" if heading == "error %" else "right", no_wrap=heading != "mult-\nadds")
    for row in rows:
        count = str(len(row["weights"])) if row["weights"] else ""
        table.add_row(row["name"], row["paper"], str(row["depth"]), *costs(row), errors(row), count)
    console.print(table)


def costs(row: dict[str, Any]) -> tuple[str, str]:
    """Parameters and multiply-adds with three digits."""
    return format_count(row["parameters"]), format_count(row["multiply_adds"])


def errors(row: dict[str, Any]) -> str:
    """Published top-1 and top-5 errors, a dash for none; no more digits than two."""
    found = [row["top1_error"], row["top5_error"]]
    if found == [None, None]:
        return MISSING
    words = [MISSING if error is None else f"{error:.2f}" for error in found]
    return (words[0] if row["size"] == 32 else "/".join(words)) + MARKS[row["test"]]


# ---------------------------------------------------------------------------------------------------------------------
# show


def network_layers(name: str, given: str, classes: int | None) -> dict[str, Any]:
    """The layers of `name` for an image `given` as "3x224x224", "224" or "" for the paper's, and their totals."""
    net, shape, steps = traced(name, given, classes)
    known = PUBLISHED[name]
    return {
        "name": name,
        "paper": known.paper.short,
        "input": list(shape),
        "classes": classes_of(net),
        "layers": [{key: value for key, value in asdict(s).items() if key != "sources"} for s in steps if not s.join],
        **totals(net, shape, steps),
        "published": asdict(known),
    }


def print_layers(found: dict[str, Any], console: Console) -> None:
    """`network_layers` as a table with its totals below, beside the published ones."""
    table = Table(box=None, pad_edge=False)
    for heading in ("unit, layer", "kernel", "output"):
        table.add_column(heading, no_wrap=heading != "kernel")
    for heading in ("parameters", "mult-\nadds", "field", "memory"):
        table.add_column(heading, justify="right", no_wrap=heading != "mult-\nadds")
    unit = ""
    for row in found["layers"]:
        alone = row["unit"] == row["name"]
        if row["unit"] != unit and not alone:
            table.add_row(row["unit"], style="bold")
        unit = row["unit"]
        table.add_row(
            row["name"] if alone else f"  {row['name'].removeprefix(f'{unit}.')}",
            row["kernel"].replace("stride ", "/") or row["kind"],
            "x".join(map(str, row["output"])),
            f"{row['parameters']:,}" if row["parameters"] else "",
            format_count(row["multiply_adds"]) if row["multiply_adds"] else "",
            format_receptive_field(row["receptive"]),
            format_bytes(row["memory"]),
            style="bold" if alone else None,
        )
    console.print(table)
    console.print(
        "field: side of the square of pixels that one position sees; memory: of one image's output, float32\n"
    )
    print_totals(found, console)


def print_totals(found: dict[str, Any], console: Console) -> None:
    known = found["published"]
    console.print(
        f"{found['name']} at {'x'.join(map(str, found['input']))}, {found['classes']:,} classes", style="bold"
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("", "parameters", "mult-adds", "depth", "field", "kept"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=bool(heading))
    ours = f"{found['parameters']:,}", f"{found['multiply_adds'] / 1e9:.3f} G"
    field, memory = format_receptive_field(found["receptive"]), format_bytes(found["kept"])
    table.add_row("counted here", *ours, str(found["depth"]), field, memory)
    parameters = MISSING if known["parameters"] is None else f"{known['parameters']:,}"
    multiply_adds = MISSING if known["multiply_adds"] is None else f"{known['multiply_adds'] / 1e9:g} G"
    by = f" ({known['counted_by']})" if known["counted_by"] else ""
    table.add_row(f"published{by}", parameters, multiply_adds, str(known["depth"]), "", "")
    console.print(table)
    console.print("kept: what training stores of one image for the backward pass, float32")
    if found["in_training_alone"]:
        console.print(f"{found['in_training_alone']:,} of the parameters are used in training alone")
    for result in known["results"]:
        console.print(f"published error: {told(result)} ({result['test']}; {result['source']})")
    paper = known["paper"]
    console.print(f"paper: {paper['short']}, arXiv:{paper['arxiv']}")


def told(result: dict[str, Any]) -> str:
    """The errors of a published result in words."""
    pairs = (("top-1", result["top1"]), ("top-5", result["top5"]))
    return ", ".join(f"{name} {value:g} %" for name, value in pairs if value is not None)


# ---------------------------------------------------------------------------------------------------------------------
# doctor, and what the verbs share


def machine_rows() -> list[dict[str, Any]]:
    """What was found and decided, with the reason of each decision."""
    decided = hardware.decide()
    rows = [{"what": k, "value": v, "why": decided.reasons[k]} for k, v in decided.summary().items()]
    rows.append({"what": "python", "value": platform.python_version(), "why": ""})
    return rows + [{"what": p, "value": version(p), "why": ""} for p in ("skipway", "torch", "torchvision")]


def print_rows(rows: list[dict[str, Any]], console: Console) -> None:
    """Dicts of equal keys as a table; what is too long for a narrow terminal, as paths, goes on in the next line."""
    table = Table(box=None, pad_edge=False)
    for key, value in rows[0].items():
        table.add_column(key, justify="right" if isinstance(value, int) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    console.print(table)
