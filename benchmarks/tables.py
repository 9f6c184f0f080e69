"""Tables of the README and of docs/, generated from results/ and the source. `make tables` writes them; a test compares
them with the files."""

import json
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import architecture
from benchmarks.provenance import outdated
from skipway.study.engine.report import filled
from skipway.study.engine.results import read_results

ROOT = Path(__file__).parent.parent
STATES = {
    "supports": "supported",
    "speaks against": "contradicted",
    "no difference seen": "no difference seen",
    "not trained enough to tell": "not trained enough to tell",
}


def result(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def spread(values: dict[str, Any], digits: int = 2) -> str:
    """Mean and deviation over seeds; of one seed, the value."""
    mean, deviation = values["mean"], values["deviation"]
    return f"{mean:.{digits}f}" + (f" ± {deviation:.{digits}f}" if deviation is not None else "")


def rows() -> list[tuple[str, str, str]]:
    """What, measured, and on what."""
    digits, cifar, loop = result("digits"), result("cifar10"), result("cifar_loop")
    step, startup = result("train_step"), result("startup")
    turns = [ratio["whole run"] for ratio in loop["ratios"]]
    seeds = len(digits["seeds"])
    made = [
        ("Digits, test accuracy", f"{spread(digits['accuracy'])} %", f"`quick`, {seeds} seeds, 360 images"),
        ("Digits, one training and its report", f"{spread(digits['processor_seconds'], 1)} s", "processor seconds"),
        (
            "CIFAR-10, test accuracy",
            f"{spread(cifar['accuracy'])} %",
            f"{cifar['model']}, {cifar['epochs']} epochs, batch {cifar['batch']}, {len(cifar['seeds'])} seeds; "
            f"{cifar['data']}",
        ),
        (
            "CIFAR-10, images a second over a plain loop's",
            f"{loop['ratio']['whole run']:.2f}",
            f"median of {loop['rounds']} turns, from {min(turns):.2f} to {max(turns):.2f}; "
            f"{loop['ratio']['full-sized epochs']:.2f} in the epochs on full-sized crops; {loop['small']}",
        ),
    ]
    for case, measured in step["cases"].items():
        ratios = measured["ratios"]
        made.append(
            (
                f"Training step over torchvision's, {case}",
                f"{ratios['over torchvision float32']:.2f}",
                "float32; with channels-last and bfloat16 of its own: "
                f"{ratios['over torchvision channels-last bfloat16']:.2f}",
            )
        )
    made += [
        *first_day(),
        *large_photographs(),
        *detection(),
        *segmentation(),
        *generation(),
        *generation_speed(),
        claims(),
        *twins(),
        deepest(),
        *kept(),
    ]
    made += shipped()
    for name, measured in startup["commands"].items():
        made.append((f"`{name}`", f"{measured['median_s']:.2f} s", "processor seconds, without torch"))
    return made


def claims() -> tuple[str, str, str]:
    """The verdicts on the papers' claims, of every study that was run at scale small."""
    found = [study for study in read_results(ROOT / "results" / "studies") if study.scale.name == "small"]
    states = Counter(verdict.state for study in found for verdict in study.verdicts)
    note = ", ".join(sorted({study.data["note"] for study in found} - {""}))
    seeds = " or ".join(str(count) for count in sorted({len(study.seeds) for study in found}))
    longest = max(run["recipe"]["iterations"] for study in found for run in study.runs)
    return (
        f"Claims of the papers in {len(found)} studies, at scale `small`",
        ", ".join(f"{states[state]} {words}" for state, words in STATES.items()),
        f"[reduced](docs/studies/README.md): {longest:,} iterations at most, of 64,000; {seeds} seeds; {note}",
    )


def first_day() -> list[tuple[str, str, str]]:
    """Few images and one command, beside another package's smallest classifier from scratch."""
    measured = result("first_day")
    rows = []
    for name, one in measured["sets"].items():
        others = (f"{key} {row['accuracy']:.1f} %" for key, row in one.items() if key.startswith("yolo"))
        scratch = one["skipway train --from-scratch"]
        rows.append(
            (
                f"`skipway train FOLDER --offline`, {name}, test accuracy",
                f"{one['skipway train']['accuracy']:.1f} % in {one['skipway train']['seconds']:.0f} s",
                f"`--from-scratch` {scratch['accuracy']:.1f} % in {scratch['seconds']:.0f} s; from scratch in the same "
                f"time: {', '.join(others)}; {one['test_images']} test images, one seed",
            )
        )
    return rows


def large_photographs() -> list[tuple[str, str, str]]:
    """12 megapixels from file to label, at the codec's reduced scale."""
    found = result("large_photographs")
    return [
        (
            f"Labelling {name} 12-megapixel photographs, reduced by the codec over in full",
            f"{found[name]['reduced_over']['in full']:.2f}",
            f"{found[name]['reduced_over']['before']:.2f} over the version before; "
            f"{100 * found[name]['same_labels']:.0f} % of {found['files']} labels stay; one thread",
        )
        for name in ("upright", "turned")
    ]


def detection() -> list[tuple[str, str, str]]:
    """Boxes from scratch, and the speed beside torchvision's detector."""
    found, speed, used = result("detection"), result("detection_speed"), result("detection_predict")
    height, width = found["input"]
    threads = found["threads_of_a_training"]
    where = (
        f"{found['network']}, input {height} x {width}, {found['recipe']['iterations']:,} steps of "
        f"{found['recipe']['batch']}, {len(found['seeds'])} seeds, {max(found['minutes']):.0f} min on {threads} "
        f"thread{'s' if threads > 1 else ''}"
    )
    made = [
        (f"BCCD from scratch, {name} of boxes on test", spread(found["test"][key], 1), where)
        for name, key in (("AP", "ap"), ("AP50", "ap50"))
    ]
    times = ", ".join(f"{engine} {ms:.0f} ms" for engine, ms in found["milliseconds_an_image"].items())
    made.append(("One photograph from file to boxes", times, f"{found['network']}, input {height} x {width}"))
    made += [
        (
            f"Training fcos_resnet50 over torchvision's, {precision.removeprefix('torch.')}",
            f"{case['ratio']:.2f}",
            f"images a second from files to weights, {speed['what'].split(', ', 1)[1]}",
        )
        for precision, case in speed["training"].items()
    ]
    made.append(
        (
            "Predicting with fcos_resnet18_light over torchvision's script, `--engine auto`",
            f"{used['ratios']['auto over torchvision script']:.2f}",
            f"files to boxes, {used['files']} photographs; suppression takes "
            f"{100 * used['postprocessing_share']:.1f} % of the time",
        )
    )
    return made


def seeds(found: dict[str, Any]) -> str:
    """The number of seeds in words."""
    count = len(found["seeds"])
    return f"{count} seeds" if count > 1 else "one seed"


def segmentation() -> list[tuple[str, str, str]]:
    """Label maps from scratch."""
    found = result("segmentation")
    height, width = found["input"]
    where = (
        f"{found['network']}, input {height} x {width}, {found['recipe']['iterations']:,} steps of "
        f"{found['recipe']['batch']} crops, {seeds(found)}; the recipe was chosen on the same images"
    )
    names = {"miou": "mean IoU", "pixel_accuracy": "pixel accuracy", "boundary_f": "boundary F"}
    return [
        (f"CamVid from scratch, {name} on val", f"{spread(found['val'][key], 1)} %", where)
        for key, name in names.items()
    ]


def generation() -> list[tuple[str, str, str]]:
    """Generators from one command."""
    made = []
    for name, found in result("generation")["sets"].items():
        figures, where = found["figures"], f"{found['network']['name']}, {trained_in(found)}"
        if figures["class_accuracy"]["mean"] is not None:
            value = f"{spread(figures['class_accuracy'])} %"
            made.append((f"Generated {name}, class accuracy", value, f"{where}; of test images {beside(found)} %"))
        floor = spread(figures["frechet_floor"], 3)
        value = spread(figures["frechet_distance"], 3)
        made.append((f"Generated {name}, Fréchet distance", value, f"training images {floor}; {found['features']}"))
    return made


def generation_speed() -> list[tuple[str, str, str]]:
    """Drawing and training beside what a user would take instead."""
    found = result("generation_speed")
    made = []
    for name, one in found["sampling"].items():
        over = one["skipway_over"]["diffusers loop, batch 64"]
        how = f"{found['drawn']} images, {found['evaluations']} evaluations each, `--engine auto` chose {one['engine']}"
        made.append((f"Drawing with {name} over diffusers {found['diffusers']}", f"{over:.2f}", how))
    for name, one in found["training"].items():
        over = one["skipway_over"]["torchcfm loop, the same network"]
        how = f"batch {one['batch']}, the same network; theirs in float32, as the example has it"
        made.append((f"Training {name} over conditional-flow-matching's loop", f"{over:.2f}", how))
    return made


def beside(found: dict[str, Any]) -> str:
    """The class accuracy of test images."""
    return f"{found['figures']['image_class_accuracy']['mean']:.2f}"


def trained_in(found: dict[str, Any]) -> str:
    """Length, seeds and minutes of a generator's training."""
    threads = found["threads"]
    return (
        f"{found['images_trained_on']:,} images, {seeds(found)}, {max(found['figures']['minutes']['all']):.1f} min on "
        f"{threads} thread{'s' if threads > 1 else ''}"
    )


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


def twins() -> list[tuple[str, str, str]]:
    """Our networks beside torchvision's of the same name: below 1, ours takes less time."""
    measured = result("against_torchvision")
    rows = []
    for name, built in measured["building"].items():
        steps = [(key.removeprefix(f"{name}, "), one["ratio"]) for key, one in measured["steps"].items() if name in key]
        shown = ", ".join(f"{ratio:.2f} in {how}" for how, ratio in steps)
        rows.append(
            (f"Time of {name} over torchvision's", shown, f"forward and backward; {built['ratio']:.2f} to build")
        )
    return rows


def shipped() -> list[tuple[str, str, str]]:
    """Using a trained network: a folder labelled, one image, the server under load."""
    predict, latency, serve = result("predict"), result("latency"), result("serve")
    over, speed = predict["ratios"], {name: row["images_per_s"] for name, row in predict["candidates"].items()}
    under, int8 = serve["overload"], result("int8")["networks"]
    drops = {name.split(",")[0]: row for name, row in int8.items() if "hostile" not in name}
    return [
        (
            "Photographs from files to labels, `--engine auto`, resnet50",
            f"{speed['skipway auto']:.0f} images/s",
            f"{over['over torchvision script']:.1f} times torchvision's usual script, "
            f"{over['over timm, compiled, channels-last, bfloat16']:.2f} timm's compiled, "
            f"{over['over openvino script, plain']:.2f} a plain OpenVINO script, "
            f"{over['over openvino script']:.2f} one that overlaps; int8 {over['int8 over auto']:.2f} times this",
        ),
        (
            "Accuracy lost to int8, CIFAR-10, 10,000 test images",
            ", ".join(f"{name} {row['drop']:.2f}" for name, row in drops.items()) + " points",
            "gate at 0.5; CIFAR-10, re-encoded as JPEG of quality 75; "
            + ", ".join(f"{name} {100 * row['reference']:.2f} % in float32" for name, row in drops.items()),
        ),
        (
            "One photograph from file to label over OpenVINO's latency mode",
            f"{latency['ratios']['p50_ms']:.2f}",
            f"median {latency['ways']['skipway']['p50_ms']:.1f} ms; 99th percentile {latency['ratios']['p99_ms']:.2f}",
        ),
        (
            f"Server with {serve['throughput']['clients']} clients over `Predictor`",
            f"{serve['throughput']['server_over_predict']:.2f}",
            f"twice its capacity offered for {under['seconds']:.0f} s: 99 % of accepted requests within "
            f"{under['p99_s']:.1f} s (bound {under['bound_s']:.0f} s)",
        ),
    ]


def kept() -> list[tuple[str, str, str]]:
    """A run that is killed and goes on, and what its checkpoints cost."""
    killed, cost = result("killed"), result("checkpointing")
    stories = [killed[name] for name in ("SIGKILL", "SIGTERM", "two processes, one killed")]
    again, ended, two = (one.get("kills", one.get("signals")) for one in stories)
    return [
        (
            "Weights after kills equal to an uninterrupted run's, bit for bit",
            f"{sum(one['equal'] for one in stories)} of {len(stories)} runs",
            f"SIGKILL {again} times, {stories[0]['while_writing']} of them in a half-written checkpoint; "
            f"SIGTERM {ended} times; one of two processes killed, {two} times",
        ),
        (
            "A checkpoint every 100 steps, resnet18 at 32 pixels",
            f"{cost['at_most_percent']:.1f} % of the time at most",
            f"{cost['checkpoint_mb']:.0f} MB in {cost['alone_s']:.2f} s by itself; written beside the training, "
            f"{cost['overhead_percent']:+.1f} %, median of {cost['rounds']} turns",
        ),
    ]


def memory_saved() -> tuple[int, float, float, float]:
    """Of recomputed activations at the greatest depth that was measured both ways: that depth, how many times less
    memory, GiB with it, and the share of its time that a step takes without."""
    points = [p for p in result("depth")["points"] if "killed" not in p]
    both = {p["depth"] for p in points if p["recomputed"]} & {p["depth"] for p in points if not p["recomputed"]}
    depth = max(both)
    plain, again = ({p["recomputed"]: p for p in points if p["depth"] == depth}[key] for key in (False, True))
    seconds = [statistics.median(p["seconds"][2:]) for p in (plain, again)]
    return depth, plain["mebibytes"] / again["mebibytes"], again["mebibytes"] / 1024, seconds[0] / seconds[1]


def deepest() -> tuple[str, str, str]:
    """What recomputed activations save, and cost."""
    depth, times, gibibytes, share = memory_saved()
    return (
        f"Memory of a training step, {depth:,} layers, batch 128",
        f"{gibibytes:.1f} GiB",
        f"recomputed activations; {gibibytes * times:.1f} GiB and {share:.2f} of the time without",
    )


# the results that `highlights` takes its figures from
SHOWN = ("cifar10", "depth", "detection", "detection_predict", "digits", "first_day", "generation", "predict")
SHOWN += ("segmentation", "train_step")


def highlights() -> list[tuple[str, str]]:
    """Ten figures for the README: what, and how much, every ratio one of times and naming what it is compared with."""
    digits, cifar, predict = result("digits"), result("cifar10"), result("predict")
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
            f"{spread(labels['val']['miou'], 1)} and {spread(labels['val']['pixel_accuracy'], 1)} %, {seeds(labels)}, "
            f"{labels['network']}, {labels['recipe']['iterations']:,} steps; the recipe was chosen on these images",
        ),
        (
            "Generated handwritten digits of which another network finds the class",
            f"{spread(made['figures']['class_accuracy'])} %, {seeds(made)}; of test images {beside(made)} %; one "
            f"command, {made['quiet']['seconds']:.0f} s",
        ),
        (
            "Test accuracy, handwritten digits",
            f"{spread(digits['accuracy'])} % over {len(digits['seeds'])} seeds, in "
            f"{digits['processor_seconds']['mean']:.0f} processor seconds",
        ),
        (
            f"Test accuracy, {cifar['model']} on CIFAR-10 ({cifar['data'].split(', ', 1)[1]})",
            f"{spread(cifar['accuracy'])} % after {cifar['epochs']} epochs, {len(cifar['seeds'])} seeds; the recipe "
            "was chosen with an eye on these test images",
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
    lines = ["| what | measured | how |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows())]
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
        docs / "transfer.md": transfer_table(),
        docs / "generation.md": generation_table(),
        docs / "architecture.md": f"{architecture.tree()}\n",
    }
    return {file: filled(file.read_text(), part) for file, part in made.items()}


def main() -> None:
    for file, text in pages().items():
        file.write_text(text)


if __name__ == "__main__":
    main()
