"""The model card of a run on the hub: what it is, how good, how it was made, under which licences, and how it is used.

The metadata at its top are the hub's (https://huggingface.co/docs/hub/model-cards), with the results as a model index.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skipway.bundle import Card
from skipway.bundle.hub import Place
from skipway.errors import SkipwayError, printable
from skipway.tasks import Task

UNKNOWN = "unknown"
LICENCE = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")  # the hub's identifiers of licences
METRIC_TYPES = {"top1": "accuracy", "f1_macro": "f1", "miou": "mean_iou", "map": "mean_average_precision"}
UNSAFE = re.compile(r"([\\`*_\[\]<>|&~$])")  # what Markdown gives a meaning to inside a line


@dataclasses.dataclass(frozen=True)
class Licences:
    """Of the weights and of the data that they were trained on: the hub's identifiers, or "unknown"."""

    weights: str
    data: str

    def __post_init__(self) -> None:
        """Raises SkipwayError for what is no identifier."""
        for option, value in (("--licence", self.weights), ("--data-licence", self.data)):
            if not LICENCE.fullmatch(value):
                raise SkipwayError(
                    f"{option} must be the hub's identifier of a licence, as apache-2.0 or cc-by-4.0, or {UNKNOWN}, "
                    f"not '{value}'"
                )


def public_card(card: Card) -> Card:
    """`card` without what is of this machine alone: the folders that data, weights and other runs were in, of which the
    last name stays, and the names of the images that were left out."""
    data = {**card.data, "name": last_name(card.data["name"])}
    if "left_out" in data:
        data["left_out"] = []
    recipe = {**card.recipe, "pretrained": last_name(str(card.recipe.get("pretrained", "")))}
    if "teacher" in recipe:
        recipe["teacher"] = last_name(recipe["teacher"])
    if "members" in recipe:
        recipe["members"] = [last_name(one) for one in recipe["members"]]
    teacher = {**card.teacher, "run": last_name(card.teacher["run"])} if card.teacher else {}
    return dataclasses.replace(card, data=without_folders(data), recipe=without_folders(recipe), teacher=teacher)


def places_of(card: Card) -> list[str]:
    """The folders and files that `card` names and `public_card` does not."""
    recipe = card.recipe
    runs = [recipe.get("pretrained", ""), recipe.get("teacher", ""), *recipe.get("members", ())]
    return [place for place in (card.data["name"], *runs, card.teacher.get("run", "")) if place != last_name(place)]


def last_name(place: str) -> str:
    """The last name of a path; names of the hub and addresses as they are."""
    return place if place.startswith("hf:") or "://" in place else re.split(r"[/\\]", place.rstrip("/\\"))[-1]


def without_folders(value: Any) -> Any:
    """`value` with the last name alone of every absolute path in it."""
    if isinstance(value, Mapping):
        return {key: without_folders(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(one) for one in value]
    return last_name(value) if isinstance(value, str) and Path(value).is_absolute() else value


def figures_of(metrics: Mapping[str, Any], first: str) -> dict[str, float]:
    """The figures among a split's metrics by name, the one called `first` at the beginning."""
    found = {name: value for name, value in metrics.items() if isinstance(value, float) and math.isfinite(value)}
    return {name: found[name] for name in sorted(found, key=lambda name: name != first)}


def metadata(card: Card, task: Task, place: Place, licences: Licences) -> str:
    """The hub's metadata as YAML, with every figure of every split that was evaluated."""
    from huggingface_hub import EvalResult, ModelCardData

    name, data = card.data["name"], card.data
    results = [
        EvalResult(
            task_type=task.pipeline_tag,
            dataset_type=name.removeprefix("hf:"),
            dataset_name=name,
            dataset_split=split,
            metric_type=METRIC_TYPES.get(metric, metric),
            metric_name=metric,
            metric_value=value,
        )
        for split, metrics in card.metrics.items()
        for metric, value in figures_of(metrics, task.metric).items()
    ]
    start = str(card.recipe.get("pretrained") or "")
    return ModelCardData(
        model_name=place.repository.split("/")[1],
        eval_results=results or None,
        library_name="skipway",
        license=licences.weights,
        pipeline_tag=task.pipeline_tag,
        tags=[task.name, card.network["name"]],
        datasets=hub_repository(data["name"]),
        base_model=hub_repository(start),
    ).to_yaml(line_break="\n")


def hub_repository(text: str) -> str | None:
    """The repository that a name of data or weights on the hub is in; None for any other name."""
    found = re.match(r"hf:([\w.-]+/[\w.-]+)", text)
    return found[1] if found else None


def literal(text: str) -> str:
    """`text` on one line of Markdown, as it is, whatever is in it."""
    return UNSAFE.sub(r"\\\1", printable(text))


def model_card(card: Card, task: Task, place: Place, licences: Licences, left_out: int = 0) -> str:
    """The model card of `card`, which `public_card` returned. left_out: images of the data that were not used."""
    network, data = card.network["name"], card.data
    started = card.recipe.get("pretrained") or ""
    rows = {
        "network": f"{network}, {card.parameters:,} parameters",
        "input": f"{card.preprocessing['size']} pixels, {card.preprocessing['channels']} channels",
        "data": f"{data['name']}: " + ", ".join(f"{split} {count:,}" for split, count in data["counts"].items()),
        "left out": f"{left_out:,} images" if left_out else "",
        "fingerprint of the data": data["fingerprint"],
        "start": f"the weights {started}" if started else "random weights",
        "recipe": f"{card.recipe['name']}, in card.json",
        "trained": f"{card.created}, {card.seconds:,.0f} s",
        "machine": ", ".join(card.hardware.values()),
        "versions": ", ".join(f"{name} {version}" for name, version in card.versions.items()),
        "commit": card.commit,
        "SHA-256 of the weights": card.weights_sha256,
    }
    shown = card.classes[:20]
    more = f" and {len(card.classes) - len(shown):,} more" if len(card.classes) > len(shown) else ""
    results = [
        f"- {split}: {literal(text)}, {card.metrics[split]['n']:,} images" for split, text in card.summaries.items()
    ]
    return "\n".join(
        [
            f"---\n{metadata(card, task, place, licences).strip()}\n---",
            f"\n# {literal(place.repository.split('/')[1])}\n",
            f"{literal(network)}, trained with skipway for the task `{task.name}` on {literal(data['name'])}.",
            "\n## Results\n",
            *results,
            f"\nMeasured on the images of {literal(data['name'])} alone: on images of another kind it may be worse.",
            "\n## Use\n",
            usage(task, place),
            f"\nClasses: {', '.join(map(literal, shown)) or 'none'}{more}.",
            "\n## Licences\n",
            f"- weights: {licences.weights}\n- data that they were trained on: {licences.data}",
            "\n## Provenance\n\n| | |\n|---|---|",
            *(f"| {name} | {literal(value)} |" for name, value in rows.items() if value),
            "\n`SHA256SUMS` holds the checksums of the files, which are verified whenever they are loaded.\n",
        ]
    )


def usage(task: Task, place: Place) -> str:
    """How the run is used, in the shell and in Python."""
    shell = f"skipway generate {place}" if task.generates else f"skipway predict {place} image.jpg"
    python = f'skipway.generate("{place}", n=16)' if task.generates else f'skipway.predict("{place}", "image.jpg")'
    return (
        f"```bash\npip install skipway\n{shell}\n```\n\n```python\nimport skipway\n\n{python}\n```\n\n"
        f"Every command that takes a run takes `{place}`."
    )
