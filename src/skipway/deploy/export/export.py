"""Export to another program's format, written only after its outputs agreed with eager's on typical inputs."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skipway.bundle import FILES, Card, to_json
from skipway.bundle.hub import local_folder
from skipway.deploy import engines
from skipway.deploy.engines import openvino_cpu
from skipway.deploy.engines.base import Engine, EngineInput, Notify, ignore_message, split_inputs
from skipway.deploy.engines.selection import versions
from skipway.deploy.export.folder import CARD, EVIDENCE, usual_folder, write_sums
from skipway.deploy.export.formats import CLASSES_NOTE, FORMATS, Exportable, NamedRunner, finish_openvino
from skipway.deploy.export.graph import PROBABILITIES, output_names
from skipway.deploy.export.quantize import QuantizationResult, chosen_images, quantize
from skipway.deploy.export.readme import readme
from skipway.deploy.sample_images import Samples, at_hand
from skipway.errors import SkipwayError, UnknownNameError, refuse_if
from skipway.hardware import decide
from skipway.tasks.base import Outputs, Parity, Runner, Task
from skipway.trained import TrainedModel

BATCHES = (1, 2, 7)  # images at a time that every export is proven with, if it takes more than one
PROVEN_ON = 14  # images
TURNED = 1e-5  # how far an export's probabilities may be from those that its own scores give


@dataclass(frozen=True)
class ExportRequest:
    """What to export. out: None for a folder in the run's own; images: paths to prove it on, none for the data's;
    data: a data set to compare on, None for the training's; max_drop: points that int8 may lose, None for no
    int8; nms: whether non-maximum suppression is a part of it."""

    form: str
    out: Path | None = None
    images: Sequence[Path] = ()
    data: str | None = None
    max_drop: float | None = None
    nms: bool = False

    @property
    def variant(self) -> str:
        """As in the name of the usual folder."""
        return "int8" if self.max_drop is not None else "nms" if self.nms else ""


@dataclass(frozen=True)
class ExportResult:
    """What was written, and the evidence, as evidence.json has it."""

    folder: Path
    evidence: dict[str, Any]


def export(run: str | Path, wanted: ExportRequest, say: Notify = ignore_message) -> ExportResult:
    """The bundle `run` in the format `wanted.form`, in a new folder. `say` is told of each mixture of int8 tried.

    Raises SkipwayError for an unknown format, a folder that exists, a library that is missing, and above all when the
    export does not say what eager says; nothing is then left behind.
    """
    if wanted.form not in FORMATS:
        raise UnknownNameError("format", wanted.form, FORMATS, f"one of {', '.join(FORMATS)}")
    if wanted.max_drop is not None and wanted.form != "openvino":
        raise SkipwayError(f"--int8 is made for OpenVINO, not for {wanted.form}: give --format openvino")
    refuse_if(wanted.nms and wanted.max_drop is not None, "--nms is in float32", "leave out --int8 or --nms")
    refuse_if(wanted.nms and wanted.form == "torch", "--nms is for onnx and openvino", "give another --format")
    source = local_folder(run)
    folder = wanted.out or usual_folder(source, wanted.form, wanted.variant)
    if folder.exists():
        raise SkipwayError(f"{folder} exists: choose another --out, or remove it")
    model = TrainedModel.load(source)
    card = model.card
    trained = EngineInput.of(model, decide("cpu"))
    if wanted.max_drop is not None and not trained.takes_images:
        raise SkipwayError(f"--int8 is for networks that take images, which those of {card.task} do not: leave it out")
    made = exportable(trained, model, wanted.nms)
    samples = at_hand(card, wanted.images, wanted.data, PROVEN_ON)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as fault:
        raise SkipwayError(f"{folder} cannot be written ({fault.strerror}): choose another --out") from None
    try:
        if wanted.max_drop is None:
            evidence = write_exact(made, trained, card, wanted.form, staged, samples)
        else:
            evidence = write_int8(made, card, wanted, staged, samples, say)
        write_extras(source, made.task, card, wanted.form, staged, evidence)
        staged.chmod(0o755)
        staged.rename(folder)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return ExportResult(folder, evidence)


def exportable(trained: EngineInput, model: TrainedModel, nms: bool) -> Exportable:
    """What is exported of a bundle; `nms`: with non-maximum suppression behind the network. Raises SkipwayError where
    there is nothing to suppress."""
    if nms:
        task, net = model.task.with_suppression(model.net)
        trained = replace(trained, net=net, task=task, single=True)
    return Exportable(trained, model.card.temperature, notes(model.card))


def write_exact(
    made: Exportable, reference: EngineInput, card: Card, form: str, folder: Path, samples: Samples
) -> dict[str, Any]:
    """What is exported in `folder`, proven by the format's own runtime to be `reference`, the network. Raises
    SkipwayError when it disagrees."""
    FORMATS[form].write(made, folder)
    runner = FORMATS[form].runner(folder)
    eager = engines.build("eager", reference)
    rows = check_export(runner, made, samples, "float32", eager.outputs(*samples.inputs))
    whole = check_results(runner, made, eager)
    outputs = named(runner, made)(*(given[:1] for given in samples.inputs))
    return evidence_of(made, card, form, samples, outputs, rows, whole=whole)


def write_int8(
    made: Exportable, card: Card, wanted: ExportRequest, folder: Path, samples: Samples, say: Notify
) -> dict[str, Any]:
    """Likewise in int8, after the gate: every batch size then gives what the engine gave there."""
    assert wanted.max_drop is not None
    trained = made.trained

    def engine(graph: Any) -> Engine:
        options = {**openvino_cpu.variants(trained)[0], "precision": "int8"}
        return openvino_cpu.engine_of(graph, trained, options, "int8")

    images, reference = chosen_images(card, wanted.data), engines.build("eager", trained)
    graph, found = quantize(trained, images, wanted.max_drop, reference, engine, say)
    finish_openvino(graph, made, folder)
    runner = FORMATS["openvino"].runner(folder)
    expected = named(runner, made)(*samples.inputs)
    rows = check_export(runner, made, samples, "float32", expected)
    return evidence_of(made, card, wanted.form, samples, expected, rows, found)


def named(runner: NamedRunner, made: Exportable) -> Runner:
    """`runner` with the network's outputs alone, in their order."""

    def run(*inputs: Tensor) -> Outputs:
        found = runner(*inputs)
        return tuple(found[name] for name in made.task.output_names)

    return run


def check_export(
    runner: NamedRunner, made: Exportable, samples: Samples, precision: str, expected: Outputs
) -> dict[int, Parity]:
    """How `runner` agrees with `expected` outputs at each of BATCHES, or at one image at a time if it takes no more.

    Raises SkipwayError when it does not, and when its probabilities are not those of its scores at the temperature.
    """
    rows: dict[int, Parity] = {}
    task = made.task
    for batch in BATCHES[:1] if made.trained.single else BATCHES:
        found = joined([runner(*part) for part in split_inputs(samples.inputs, batch)])
        outputs = tuple(found[name] for name in task.output_names)
        rows[batch] = task.parity(expected, outputs, precision)
        if task.activation and not torch.allclose(
            found[PROBABILITIES], task.class_probabilities(outputs[0], made.temperature), rtol=0, atol=TURNED
        ):
            raise SkipwayError(
                f"the export's probabilities are not {formula(task, made.temperature)}, and it was not written: try "
                "another --format"
            )
        if not rows[batch].agrees:
            raise SkipwayError(
                f"the export is not the network, and was not written: in batches of {batch} {rows[batch].summary()}; "
                "try another --format"
            )
    return rows


def check_results(runner: NamedRunner, made: Exportable, eager: Engine) -> Parity | None:
    """How results that take several calls agree with eager's; None for a task whose results take one. Raises
    SkipwayError when they do not."""
    found = made.task.whole_parity(eager.outputs, named(runner, made), made.trained.preprocessing)
    if found is not None and not found.agrees:
        raise SkipwayError(
            f"the export is not the network, and was not written: over several calls {found.summary()}; try another "
            "--format"
        )
    return found


def joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The outputs of batches as those of all their images, by name."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def evidence_of(
    made: Exportable,
    card: Card,
    form: str,
    samples: Samples,
    outputs: Outputs,
    rows: dict[int, Parity],
    found: QuantizationResult | None = None,
    whole: Parity | None = None,
) -> dict[str, Any]:
    """evidence.json: what was compared with what, on which inputs, and how far apart it was. outputs: the export's."""
    batch = 1 if made.trained.single else "batch"
    return {
        "format": form,
        "network": card.network["name"],
        "weights_sha256": card.weights_sha256,
        "inputs": [
            {"name": name, "type": str(given.dtype).removeprefix("torch."), "shape": [batch, *given.shape[1:]]}
            for name, given in zip(made.task.input_names, samples.inputs, strict=True)
        ],
        "outputs": [
            {"name": name, "type": "float32", "shape": [batch, *shape]}
            for name, shape in output_shapes(made.task, outputs)
        ],
        "probabilities": formula(made.task, made.temperature),
        "decoding": made.task.decoding,
        "images": samples.origin,
        "compared_with": "eager, float32" if found is None else "itself, all images at once, after the gate",
        "batches": {str(count): as_fields(row) for count, row in rows.items()},
        "whole": None if whole is None else as_fields(whole),
        "int8": None if found is None else asdict(found),
        "versions": versions(),
    }


def as_fields(row: Parity) -> dict[str, Any]:
    """A comparison as plain values."""
    return {**vars(row), "agrees": row.agrees, "summary": row.summary()}


def output_shapes(task: Task, outputs: Outputs) -> list[tuple[str, list[int]]]:
    """(name, shape of one image) of every output of an export; probabilities have the shape of the scores."""
    shapes = [list(output.shape[1:]) for output in outputs]
    return [(name, shapes[i] if i < len(shapes) else shapes[0]) for i, name in enumerate(output_names(task))]


def formula(task: Task, temperature: float) -> str:
    """What the probabilities are; empty where the task has none."""
    return f"{task.activation}({task.output_names[0]} / {temperature:.6g})" if task.activation else ""


def notes(card: Card) -> dict[str, str]:
    """What travels inside the file too: the class names and the whole card, as JSON."""
    return {
        CLASSES_NOTE: json.dumps(card.classes, ensure_ascii=False),
        "skipway_card": json.dumps(asdict(card), ensure_ascii=False),
    }


def write_extras(run: Path, task: Task, card: Card, form: str, folder: Path, evidence: dict[str, Any]) -> None:
    """Card, evidence, a page for people and checksums beside the network."""
    (folder / CARD).write_bytes((run / FILES[1]).read_bytes())
    (folder / EVIDENCE).write_bytes(to_json(evidence))
    (folder / "README.md").write_text(readme(task, card, form, evidence), encoding="utf-8")
    write_sums(folder)
