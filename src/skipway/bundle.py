"""A trained network on disk: the door between making and using it.

    weights.safetensors   the weights
    card.json             everything needed to build, feed and judge the network
    README.md             the card for people
    SHA256SUMS            checksums of the three, in the form `sha256sum -c` takes

`read` verifies before it trusts: a folder with a changed byte is refused.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from skipway.errors import BundleError

Net = TypeVar("Net", bound=nn.Module)

SCHEMA = 1
FILES = ("weights.safetensors", "card.json", "README.md")
SUMS = "SHA256SUMS"


@dataclasses.dataclass(frozen=True)
class Card:
    """What card.json holds. Everything is a plain value.

    network: `models.build`'s arguments; classes: names in output order; preprocessing: `Preprocessing`'s fields;
    metrics: split -> name -> value; data: name, fingerprint, counts, and (image, why) of what was left out; recipe:
    every field as trained; calibration: temperature, the split that it was fitted on, and n, its images, or None.
    """

    task: str
    network: dict[str, Any]
    classes: list[str]
    preprocessing: dict[str, Any]
    recipe: dict[str, Any]
    data: dict[str, Any]
    hardware: dict[str, str]
    versions: dict[str, str]
    commit: str
    created: str
    parameters: int
    seconds: float
    metrics: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    calibration: dict[str, Any] | None = None
    weights_sha256: str = ""
    schema: int = SCHEMA

    @property
    def temperature(self) -> float:
        """What scores are divided by before they become probabilities; 1 where none was fitted."""
        return float(self.calibration["temperature"]) if self.calibration else 1.0


def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def stage(file: Path, content: bytes) -> Path:
    """`content` written out and flushed beside `file`, under a name of its own, which is returned."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    staged = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        staged.chmod(0o644)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    return staged


def write_together(folder: Path, contents: dict[str, bytes]) -> None:
    """Every file of `contents` in `folder`: all are written out before the first is renamed into its place."""
    staged: dict[str, Path] = {}
    try:
        for name, content in contents.items():
            staged[name] = stage(folder / name, content)
        for name in contents:
            staged[name].replace(folder / name)
    except BaseException:
        for file in staged.values():
            file.unlink(missing_ok=True)
        raise


def write_atomically(file: Path, content: bytes) -> None:
    """`content` at `file`: either what was there stays, or all of the new is there."""
    write_together(file.parent, {file.name: content})


def to_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def headline(metrics: dict[str, Any]) -> str:
    """The figure that counts: top-1 accuracy with its interval, or mean average precision where labels are several."""
    if "map" in metrics:
        return f"mAP {100 * metrics['map']:.2f} %, macro F1 {100 * metrics['f1_macro']:.2f} %"
    low, high = metrics["top1_interval"]
    return f"top-1 {100 * metrics['top1']:.2f} % (95 % interval {100 * low:.2f} to {100 * high:.2f})"


def readme(card: Card) -> str:
    """The card in a few lines of Markdown."""
    lines = [
        f"# {card.network['name']}, {card.data['name']}",
        "",
        f"{card.parameters:,} parameters, {len(card.classes)} classes, {card.preprocessing['size']} pixels a side, "
        f"recipe `{card.recipe['name']}`, {card.created}.",
        "",
    ]
    lines += [f"- {split}: {headline(metrics)}, {metrics['n']} images" for split, metrics in card.metrics.items()]
    if card.calibration:
        fitted = f"fitted on {card.calibration['n']} images of {card.calibration['split']}"
        lines.append(f"- probabilities at temperature {card.temperature:.4f}, {fitted}")
    lines += ["", "Use it with `skipway predict THIS_FOLDER images...` or `skipway.load(THIS_FOLDER)`.", ""]
    return "\n".join(lines)


def checksums(digests: dict[str, str]) -> bytes:
    """SHA256SUMS of FILES, whose digests are given by name."""
    return "".join(f"{digests[name]}  {name}\n" for name in FILES).encode()


def seal(folder: Path, card: Card) -> None:
    """Write card, README and checksums beside the weights."""
    weights = sha256(folder / FILES[0])
    card = dataclasses.replace(card, weights_sha256=weights)
    contents = {"card.json": to_json(dataclasses.asdict(card)), "README.md": readme(card).encode()}
    digests = {FILES[0]: weights} | {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    write_together(folder, {**contents, SUMS: checksums(digests)})


def write(folder: Path, weights: dict[str, Tensor], card: Card) -> None:
    """The bundle in `folder`, which must exist. The checksums come last: without them there is no bundle."""
    (folder / SUMS).unlink(missing_ok=True)
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    write_atomically(folder / FILES[0], content)
    seal(folder, card)


def require_kinds(card: Card) -> None:
    """Raises ValueError for a field of another kind than it is written with."""
    words, numbers = (card.task, card.commit, card.created), (card.parameters, card.seconds)
    fields = (card.network, card.preprocessing, card.recipe, card.data, card.hardware, card.versions, card.metrics)
    right = (
        all(isinstance(value, str) for value in [*words, *card.classes])
        and isinstance(card.classes, list)
        and all(isinstance(value, dict) for value in fields)
        and all(type(value) in (int, float) for value in numbers)
        and isinstance(card.calibration, dict | None)
    )
    if not right:
        raise ValueError("a field is of another kind")


def read_card(folder: Path) -> Card:
    """The card, after verifying every checksum. Raises BundleError for anything missing, changed or unknown."""
    if not folder.is_dir():
        raise BundleError(f"{folder} does not exist: give the folder that `skipway train` wrote")
    if not (folder / SUMS).is_file():
        state = "an unfinished run: continue it with --resume" if (folder / "checkpoints").is_dir() else "no bundle"
        raise BundleError(f"{folder} holds {state} ({SUMS} is missing)")
    sums = (folder / SUMS).read_bytes()
    digests = {}
    for name in FILES:
        if not (folder / name).is_file():
            raise BundleError(f"{folder} lacks {name}: restore it from a copy")
        digests[name] = sha256(folder / name)
        if f"{digests[name]}  {name}\n".encode() not in sums:
            raise BundleError(
                f"{folder / name} was changed since it was written (checksum differs): restore it from a copy"
            )
    if sums != checksums(digests):
        raise BundleError(f"{folder / SUMS} was changed since it was written: restore it from a copy")
    try:
        values = json.loads((folder / "card.json").read_bytes())
        if values["schema"] != SCHEMA:
            raise BundleError(f"{folder} has schema {values['schema']}, this version reads {SCHEMA}: upgrade skipway")
        card = Card(**values)
        require_kinds(card)
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        raise BundleError(f"{folder / 'card.json'} is not a card ({fault}): restore it from a copy") from None
    if card.weights_sha256 != digests[FILES[0]]:
        raise BundleError(f"{folder / FILES[0]} holds other weights than those of the card: restore it from a copy")
    return card


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The weights by name. Call `read_card` first, which verifies them."""
    return load_file(folder / FILES[0])


def load(folder: Path, build: Callable[..., Net]) -> tuple[Net, Card]:
    """The network, made by `build` (which is `models.build`: this room does not know networks), and its card.

    On the CPU, in evaluation mode. Raises BundleError; verifies before it builds.
    """
    card = read_card(folder)
    try:
        with torch.device("meta"):  # the weights are read below: none need be drawn
            net = build(**card.network)
    except (TypeError, ValueError, OverflowError, AttributeError) as fault:
        why = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise BundleError(f"{folder / 'card.json'} describes no network that can be built ({why})") from None
    try:
        net.load_state_dict(read_weights(folder), assign=True)
    except (RuntimeError, SafetensorError) as fault:
        raise BundleError(f"{folder}: the weights do not fit the card ({str(fault).splitlines()[0]})") from None
    return net.float().eval(), card


def add_metrics(folder: Path, split: str, metrics: dict[str, Any]) -> None:
    """Record what was measured on `split` in the card and the README."""
    card = read_card(folder)
    seal(folder, dataclasses.replace(card, metrics={**card.metrics, split: metrics}))


def add_calibration(folder: Path, calibration: dict[str, Any] | None) -> Card:
    """Record a fitted temperature, with its split and n, in the card and the README; returns the new card."""
    seal(folder, dataclasses.replace(read_card(folder), calibration=calibration))
    return read_card(folder)


def add_left_out(folder: Path, left_out: Sequence[tuple[str, str]]) -> Card:
    """Record (image, why) of those that the data held and training left out in the card; returns the new card."""
    card = read_card(folder)
    seal(folder, dataclasses.replace(card, data={**card.data, "left_out": [list(pair) for pair in left_out]}))
    return read_card(folder)


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make `folder` for a run; should the run fail before it wrote anything, the folder goes again.

    Raises BundleError when it holds something already, cannot be written, or has no room.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BundleError(f"{folder} is not empty: choose another --out, or --resume the run in it")
        ours = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as fault:
        raise BundleError(f"{folder} cannot be written ({fault.strerror}): choose another --out") from None
    try:
        free = shutil.disk_usage(folder).free
        if free < 1 << 26:
            raise BundleError(f"{folder} is on a disk with {free >> 20} MB left: free some, or choose another --out")
        yield
    except BaseException:
        if ours and not any(folder.iterdir()):
            folder.rmdir()
        raise
