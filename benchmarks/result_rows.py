"""Figures of results/ as rows of tables: what, measured, and how."""

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    step = result("train_step")
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
    return [*made, *shipped(), *startup()]


def startup() -> list[tuple[str, str, str]]:
    """Processor seconds of commands in fresh processes, and the time until a training's first step."""
    measured = result("startup")
    made = []
    for name, values in measured["commands"].items():
        now, before = values["now"]["median_s"], values.get("before", {}).get("median_s", 0)
        note = (
            "processor seconds, with torch"
            if "torch" in values.get("imports", ())
            else "processor seconds, without torch"
        )
        faster = f"; {before / now:.2f} times faster than the version before" if before > 1.05 * now else ""
        made.append((f"`{name}`", f"{now:.2f} s", note + faster))
    first = measured["first_step"]["now"]["median_s"]
    return [*made, ("`skipway train digits`, until its first step", f"{first:.1f} s", "seconds from the command")]


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
        f"[reduced](studies/README.md): {longest:,} iterations at most, of 64,000; {seeds} seeds; {note}",
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


def seeds(values: Sequence[Any]) -> str:
    """The number of seeds in words, of which these are the numbers or the results."""
    count = len(values)
    return f"{count} seeds" if count > 1 else "one seed"


def segmentation() -> list[tuple[str, str, str]]:
    """Label maps from scratch."""
    found = result("segmentation")
    height, width = found["input"]
    where = (
        f"{found['network']}, input {height} x {width}, {found['recipe']['iterations']:,} steps of "
        f"{found['recipe']['batch']} crops, {seeds(found['seeds'])}; the recipe was chosen on the same images"
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
        f"{found['images_trained_on']:,} images, {seeds(found['seeds'])}, "
        f"{max(found['figures']['minutes']['all']):.1f} min on {threads} thread{'s' if threads > 1 else ''}"
    )


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
