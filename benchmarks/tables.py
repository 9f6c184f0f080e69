"""Tables of the README and of docs/, generated from results/ and the source. `make tables` writes them; a test compares
them with the files."""

from pathlib import Path
from typing import Any

from benchmarks import architecture, tested
from benchmarks.chaos_tables import chaos_rows, chaos_table
from benchmarks.provenance import outdated
from benchmarks.result_rows import ROOT, beside, claims, memory_saved, result, rows, seeds, spread, trained_in
from benchmarks.speed_rows import speed_rows
from skipway.study.engine.report import filled


def generation_table() -> str:
    """Every set: samples beside the images of test."""
    lines = [
        "| images | network and training | class accuracy of samples | of test images | Fréchet distance "
        "| of training images | copies | precision | recall |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for found in result("generation")["sets"].values():
        figures = found["figures"]
        cells = [found["what"], f"{found['network']['name']}, {trained_in(found)}"]
        cells += [f"{spread(figures[key])} %" for key in ("class_accuracy", "image_class_accuracy")]
        cells += [spread(figures[key], 3) for key in ("frechet_distance", "frechet_floor")]
        cells += [f"{spread(figures[key])} %" for key in ("copies", "precision", "recall")]
        lines.append(f"| {' | '.join(cells)} |")
    sets = result("generation")["sets"].values()
    judges = "; ".join(f"{found['features']}, {found['classifier_on_test']} % on test" for found in sets)
    under = (
        "Without guidance, 18 steps of Heun (35 evaluations), as many samples as images. Class accuracy and distances "
        f"by classifiers trained apart on the same training images: {judges}. Trained on one core of "
        f"{result('generation')['hardware']['device']}, MNIST beside other programs."
    )
    return "\n".join([*lines, "", under, ""])


# the results that `highlights` takes its figures from
SHOWN = ("time_to_accuracy", "depth", "detection", "detection_predict", "digits", "first_day", "generation", "predict")
SHOWN += ("segmentation", "train_step")


def highlights() -> list[tuple[str, str]]:
    """Ten figures for the README: what, and how much, every ratio one of times and naming what it is compared with."""
    digits, fast, predict = result("digits"), result("time_to_accuracy"), result("predict")
    ours, plain = fast["sides"]["skipway"], fast["sides"]["plain loop"]
    sets, step = result("first_day")["sets"], result("train_step")["cases"]
    photos = []
    for name, one in sets.items():
        bare = one["skipway train"]
        theirs = next(f"{row['accuracy']:.1f} %" for key, row in one.items() if key.startswith("yolo"))
        photos.append(
            (
                f"Test accuracy, {name}",
                f"{bare['accuracy']:.1f} % after {bare['seconds']:.0f} s; yolo11n-cls from scratch, given the time of "
                f"our `--from-scratch`: {theirs} (one seed)",
            )
        )
    large = next(case for name, case in step.items() if "resnet50" in name)["ratios"]
    over, gone = predict["ratios"], memory_saved()
    labels, made = result("segmentation"), result("generation")["sets"]["digits"]
    boxes, rate = result("detection"), result("detection_predict")["ratios"]
    return [
        *photos[1:2],
        (
            "Object detection from scratch, box AP and AP50 on the test images of BCCD",
            f"{spread(boxes['test']['ap'], 1)} and {spread(boxes['test']['ap50'], 1)} over {len(boxes['seeds'])} "
            f"seeds, {boxes['network']} after {max(boxes['minutes']):.0f} min; predicting is "
            f"{rate['auto over torchvision script']:.1f} times faster than torchvision's usual script",
        ),
        (
            "Semantic segmentation from scratch, mean IoU and pixel accuracy on the val images of CamVid",
            f"{spread(labels['val']['miou'], 1)} and {spread(labels['val']['pixel_accuracy'], 1)} %, "
            f"{seeds(labels['seeds'])}, {labels['network']}, {labels['recipe']['iterations']:,} steps; the recipe was "
            "chosen on these images",
        ),
        (
            "Generated handwritten digits of which another network finds the class",
            f"{spread(made['figures']['class_accuracy'])} %, {seeds(made['seeds'])}; of test images {beside(made)} %; "
            f"one command, {made['quiet']['seconds']:.0f} s",
        ),
        (
            "Test accuracy, handwritten digits",
            f"{spread(digits['accuracy'])} % over {len(digits['seeds'])} seeds, in "
            f"{digits['processor_seconds']['mean']:.0f} processor seconds",
        ),
        (
            f"Time to a plain loop's accuracy, resnet20 on {fast['data']}",
            f"{fast['share of time']:.2f} of its time: {spread(ours['accuracy'])} % on test after "
            f"{ours['seconds']['mean']:.0f} s, the plain loop of 14 epochs {spread(plain['accuracy'])} % after "
            f"{plain['seconds']['mean']:.0f} s ({seeds(ours['accuracy']['all'])} each, on "
            f"{fast['hardware']['device']})",
        ),
        (
            "A training step, resnet50 at 224 pixels",
            f"{large['over torchvision float32']:.1f} times faster than torchvision's network in a float32 loop, "
            f"{large['over torchvision channels-last bfloat16']:.2f} times with channels-last, bfloat16 on both sides",
        ),
        (
            "Labelling a folder of photographs, resnet50, `--engine auto`",
            f"{over['over torchvision script']:.1f} times faster than torchvision's usual script, "
            f"{over['over openvino script, plain']:.1f} times faster than a plain OpenVINO script, as fast as one that "
            f"decodes meanwhile ({over['over openvino script']:.2f})",
        ),
        (
            f"Memory of a training step, {gone[0]:,} layers",
            f"{gone[1]:.1f} times less than without recomputed activations",
        ),
        (claims()[0], claims()[1]),
    ]


def highlight_table() -> str:
    """The README's figures."""
    on = result("train_step")
    lines = ["| what | how much |", "|---|---|", *(f"| {' | '.join(row)} |" for row in highlights())]
    under = (
        f"Measured on {on['hardware']['device']}, without a GPU. Settings, deviations and everything else: "
        "[docs/results.md](docs/results.md)."
    )
    old = [name for name in outdated_results() if name in SHOWN]
    if old:
        under += f" Measured before later changes of the code: {', '.join(old)}."
    return "\n".join([*lines, "", under, ""])


def table() -> str:
    """The results as Markdown, and what they were measured on."""
    lines = [
        "| what | measured | how |",
        "|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in [*rows(), *speed_rows(), *chaos_rows(), *tested.rows()]),
    ]
    on = result("train_step")
    machine, versions = on["hardware"], on["versions"]
    under = (
        f"Measured on {machine['device']}, {machine['precision']}, torch {versions['torch']}, no GPU; medians of "
        "alternating runs, means and deviations over seeds. Each row is a file in `results/`, made by one in "
        "`benchmarks/`."
    )
    return "\n".join([*lines, "", under, ""])


WAYS = {"scratch": "from scratch", "head": "head on frozen features", "finetune": "fine-tuned"}


def timed(row: dict[str, Any]) -> str:
    """The time of a training in brackets; empty where it was not measured."""
    return f" ({row['seconds']['mean']:.0f} s)" if row.get("seconds") else ""


def transfer_table() -> str:
    """Accuracy by data, images a class and way, and the time of a training."""
    measured = result("transfer")
    rows = {(row["data"], row["images_a_class"], row["way"]): row for row in measured["table"]}
    cases = sorted({(name, count) for name, count, _ in rows})
    ways = [way for way in WAYS if any(row["way"] == way for row in measured["table"])]
    lines = [f"| data | images a class | {' | '.join(WAYS[way] for way in ways)} |", "|---|---|" + "---|" * len(ways)]
    for name, count in cases:
        shown = (rows.get((name, count, way)) for way in ways)
        cells = (f"{spread(row['test'], 1)} %{timed(row)}" if row else "" for row in shown)
        lines.append(f"| {name} | {count} | {' | '.join(cells)} |")
    machine = measured["hardware"]["device"]
    under = (
        f"Test accuracy, mean and deviation over {len(measured['seeds'])} seeds, which draw the images too; the time "
        f"of a training: {measured['side_by_side']} at a time, one on each core of {machine}, others beside."
    )
    return "\n".join([*lines, "", under, ""])


def outdated_results() -> dict[str, str]:
    """The results that do not describe the present code, each with the reason."""
    names = sorted(file.stem for file in (ROOT / "results").glob("*.json"))
    return {name: reason for name in names if (reason := outdated(name, result(name)))}


def outdated_table() -> str:
    """Which of the figures were measured before the code was as it is; empty if none was."""
    found = outdated_results()
    if not found:
        return ""
    lines = ["| outdated result | commit | date | why |", "|---|---|---|---|"]
    for name, reason in found.items():
        measured = result(name)
        commit = measured["commit"].removesuffix("-dirty")
        lines.append(f"| `{name}` | {commit} | {measured['date'][:10]} | {reason} |")
    before = (
        "Figures from these results are of earlier code: run `python -m benchmarks.NAME` again before quoting them."
    )
    return "\n".join([before, "", *lines, ""])


def pages() -> dict[Path, str]:
    """Every page with tables, its text with the tables made anew."""
    docs = ROOT / "docs"
    made = {
        ROOT / "README.md": highlight_table(),
        docs / "results.md": f"{table()}\n{outdated_table()}",
        docs / "testing.md": tested.page(),
        docs / "transfer.md": transfer_table(),
        docs / "generation.md": generation_table(),
        docs / "architecture.md": f"{architecture.tree()}\n",
        docs / "guide" / "resume.md": chaos_table("training"),
        docs / "guide" / "serve.md": chaos_table("serving"),
        docs / "guide" / "processes.md": chaos_table("machines"),
    }
    return {file: filled(file.read_text(), part) for file, part in made.items()}


def main() -> None:
    for file, text in pages().items():
        file.write_text(text)


if __name__ == "__main__":
    main()
