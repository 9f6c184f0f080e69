"""A trained network on disk, with its card and checksums.

    weights.safetensors   the weights
    card.json             everything needed to build, evaluate and use the network
    README.md             the card for people
    SHA256SUMS            checksums of the three, in the form `sha256sum -c` takes

`read_card` verifies all files first: a folder with a changed byte is refused. torch is imported with the weights only.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from skipway.bundle.card import SCHEMA, Card, decode
from skipway.errors import BundleError, SkipwayError, first_line
from skipway.json_text import finite_or_null
from skipway.new_files import UNFINISHED

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Card"]

Net = TypeVar("Net", bound="nn.Module")

FILES = ("weights.safetensors", "card.json", "README.md")
SUMS = "SHA256SUMS"
PREVIEWS = "previews"  # the folder of a run that the pictures of its training are in


def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def stage(file: Path, content: bytes) -> Path:
    """Write and flush `content` beside `file`, under a temporary name that `is_staged` knows, which is returned."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=UNFINISHED)
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


def is_staged(file: Path) -> bool:
    """Whether `file` is one of `stage`: of a process that is writing it, or that was killed as it did."""
    return file.name.startswith(".") and file.name.endswith(UNFINISHED)


def write_together(folder: Path, contents: dict[str, bytes]) -> None:
    """Write the files of `contents` into `folder`: all are written before the first is renamed into place.

    Old checksums go before that: a process that is killed in between leaves no bundle, rather than a changed one.
    """
    staged: dict[str, Path] = {}
    try:
        for name, content in contents.items():
            staged[name] = stage(folder / name, content)
        if SUMS in contents:
            (folder / SUMS).unlink(missing_ok=True)
        for name in contents:
            staged[name].replace(folder / name)
    except BaseException:
        for file in staged.values():
            file.unlink(missing_ok=True)
        raise


def write_atomically(file: Path, content: bytes) -> None:
    """Write `content` to `file` completely, or leave the file as it was."""
    write_together(file.parent, {file.name: content})


def to_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def readme(card: Card) -> str:
    """The card in a few lines of Markdown."""
    lines = [
        f"# {card.network['name']}, {card.data['name']}",
        "",
        f"{card.parameters:,} parameters, {len(card.classes)} classes, {card.preprocessing['size']} pixels a side, "
        f"recipe `{card.recipe['name']}`, {card.created}.",
        "",
    ]
    lines += [f"- {split}: {card.summaries[split]}, {card.metrics[split]['n']} images" for split in card.summaries]
    if card.calibration:
        fitted = f"fitted on {card.calibration['n']} images of {card.calibration['split']}"
        values = {name: value for name, value in card.calibration.items() if name not in ("split", "n")}
        lines += [f"- {name} {value:.4f}, {fitted}" for name, value in values.items()]
    use = "`skipway predict THIS_FOLDER images...` (a generator with `skipway generate THIS_FOLDER`)"
    lines += ["", f"Use it with {use} or `skipway.load(THIS_FOLDER)`.", ""]
    return "\n".join(lines)


def checksums(digests: dict[str, str]) -> bytes:
    """The content of SHA256SUMS for FILES, from their digests by name."""
    return "".join(f"{digests[name]}  {name}\n" for name in FILES).encode()


def seal(folder: Path, card: Card) -> None:
    """Write card, README and checksums beside the weights."""
    weights = sha256(folder / FILES[0])
    card = dataclasses.replace(card, weights_sha256=weights)
    contents = {"card.json": to_json(dataclasses.asdict(card)), "README.md": readme(card).encode()}
    digests = {FILES[0]: weights} | {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    write_together(folder, {**contents, SUMS: checksums(digests)})


def write(folder: Path, weights: "dict[str, Tensor]", card: Card) -> None:
    """Write the bundle into `folder`, which must exist. The checksums come last: without them there is no bundle."""
    from safetensors.torch import save

    (folder / SUMS).unlink(missing_ok=True)
    for left in filter(is_staged, folder.iterdir()):
        left.unlink(missing_ok=True)
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    write_atomically(folder / FILES[0], content)
    seal(folder, card)


def read_card(folder: Path) -> Card:
    """The card, after verifying every checksum. Raises BundleError for anything missing, changed or unknown."""
    if not folder.is_dir():
        raise BundleError(f"{folder} does not exist: give the folder that `skipway train` wrote")
    if not (folder / SUMS).is_file():
        state = "an unfinished run: continue it with --resume" if (folder / "checkpoints").is_dir() else "no bundle"
        raise BundleError(f"{folder} holds {state} ({SUMS} is missing)")
    if (folder / "evidence.json").is_file():
        raise BundleError(f"{folder} is an export, not a run: use `skipway-runtime`, or give its run")
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
    card = decode_card(folder)
    if card.weights_sha256 != digests[FILES[0]]:
        raise BundleError(f"{folder / FILES[0]} holds weights that are not those of the card: restore it from a copy")
    return card


def decode_card(folder: Path) -> Card:
    """The card in `folder`, unverified. Raises BundleError for one that this version does not read."""
    try:
        values = json.loads((folder / "card.json").read_bytes())
        schema = values.get("schema") if isinstance(values, dict) else None
        if type(schema) is int and schema != SCHEMA:
            raise BundleError(f"{folder} has schema {schema}, this version reads {SCHEMA}: upgrade skipway")
        return decode(values)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{folder / 'card.json'} is not a card ({error}): restore it from a copy") from None


def read_weights(folder: Path) -> "dict[str, Tensor]":
    """The weights by name. Call `read_card` first, which verifies them."""
    from safetensors.torch import load_file

    return load_file(folder / FILES[0])


def load_network(folder: Path, card: Card, build: Callable[[Mapping[str, Any]], Net]) -> Net:
    """The network of `card`, which `read_card` returned; `build` makes it from the card's `network`.

    On the CPU, in evaluation mode. Raises BundleError.
    """
    from safetensors import SafetensorError

    from skipway.hardware import ShapesOnly

    try:
        with ShapesOnly():  # the weights are read below: none need to be initialised
            net = build(card.network)
    except (SkipwayError, TypeError, ValueError, OverflowError, AttributeError, RuntimeError) as error:
        why = first_line(error)
        raise BundleError(f"{folder / 'card.json'} describes no network that can be built ({why})") from None
    try:
        weights = read_weights(folder)
        net.load_state_dict(weights, assign=True)
    except (RuntimeError, SafetensorError) as error:
        raise BundleError(f"{folder}: the weights do not fit the card ({first_line(error)})") from None
    if wrong := next((name for name, tensor in weights.items() if not is_finite(tensor)), None):
        where = f"{folder / FILES[0]} holds numbers that are NaN or infinite (in {wrong})"
        raise BundleError(f"{where}: restore it from a copy, or train again")
    return net.float().eval()


def is_finite(tensor: "Tensor") -> bool:
    """Whether all numbers of a tensor on the CPU are finite."""
    import torch

    if not tensor.is_floating_point() or not tensor.numel():
        return True
    # A sum is finite only of finite numbers, and takes a third of the time; the sum of finite ones may overflow
    return bool(tensor.sum(dtype=torch.float32).isfinite()) or bool(tensor.isfinite().all())


def add_metrics(folder: Path, split: str, metrics: dict[str, Any], summary: str) -> None:
    """Record metrics on `split`, and the main figure as text, in the card and the README.

    Metrics that are NaN or infinite, which JSON does not have, become null.
    """
    card = read_card(folder)
    found = {**card.metrics, split: finite_or_null(metrics)}
    seal(folder, dataclasses.replace(card, metrics=found, summaries={**card.summaries, split: summary}))


def add_calibration(folder: Path, calibration: dict[str, Any] | None) -> Card:
    """Record a fitted temperature or threshold, with its split and n, in card and README; returns the new card."""
    seal(folder, dataclasses.replace(read_card(folder), calibration=calibration))
    return read_card(folder)


def add_left_out(folder: Path, left_out: Sequence[tuple[str, str]]) -> Card:
    """Record (image, reason) of images that training left out in the card; returns the new card."""
    card = read_card(folder)
    seal(folder, dataclasses.replace(card, data={**card.data, "left_out": [list(pair) for pair in left_out]}))
    return read_card(folder)


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Create `folder` for a run; if the run fails before it wrote anything, the folder is removed.

    What a run leaves that was killed as it wrote its first file does not count. Raises BundleError when the folder is
    not empty, cannot be written, or the disk is full.
    """
    try:
        if folder.exists() and (not folder.is_dir() or not all(map(is_staged, folder.iterdir()))):
            raise BundleError(f"{folder} is not empty: choose another --out, or --resume the run in it")
        ours = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BundleError(f"{folder} cannot be written ({error.strerror}): choose another --out") from None
    try:
        free = shutil.disk_usage(folder).free
        if free < 1 << 26:
            raise BundleError(f"{folder} is on a disk with {free >> 20} MB left: free space, or choose another --out")
        yield
    except BaseException:
        if ours and not any(folder.iterdir()):
            folder.rmdir()
        raise
