"""What is killed at random moments, how that is known to have done no harm, and how it must end.

A story is a command that is killed and started again until it is allowed to end. `Story.harm` says, after every kill,
what was lost or is half there; `Story.ending` what differs from an undisturbed command's result.
"""

import io
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.chaos.forked import Copy, command
from skipway import bundle
from skipway.bundle import sha256
from skipway.download import Notice, fetch
from skipway.errors import BundleError
from skipway.new_files import unfinished
from skipway.training.checkpoint_manager import checkpoints, read
from skipway.training.run_manifest import has_manifest

CLASSES, IMAGES, SIDE = 3, 12, 16  # of the photographs
TRAIN = ("--recipe", "quick", "--model", "resnet20", "--size", str(SIDE), "--epochs", "3", "--batch", "16")
MACHINE = ("--device", "cpu", "--workers", "0")
LEAVES = 120.0  # seconds until the processes of a killed server are gone, of which one may still be starting
EVERY_STEP = ("--checkpoint-steps", "1")


def photographs(folder: Path) -> Path:
    """A folder of small images by class."""
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        (folder / f"class{label}").mkdir(parents=True)
        for i in range(IMAGES):
            pixels = random.integers(0, 80, (SIDE, SIDE, 3), dtype=np.uint8)
            pixels[..., label] += 120
            Image.fromarray(pixels).save(folder / f"class{label}" / f"{i}.png")
    return folder


def contents(folder: Path) -> dict[str, str]:
    """The checksum of every file below `folder`."""
    return {str(file.relative_to(folder)): sha256(file) for file in sorted(folder.rglob("*")) if file.is_file()}


def hidden(folder: Path) -> set[Path]:
    """What stands in `folder` under a name that is not its last."""
    return set(folder.glob(".*")) if folder.is_dir() else set()


class Story:
    """One command. folder: its own; output, errors: files of what it says."""

    name: str
    by_processor = True  # whether the moment is a time of the processor, not of the clock
    writes = 1  # half-written things that a command makes one after the other, at which a kill can be aimed
    longest = 0.0  # seconds that an undisturbed command takes

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.output, self.errors = folder / "output", folder / "errors"

    def verb(self) -> str:
        """What the next kill is counted as."""
        return self.name

    def work(self) -> Callable[[], None]:
        """What the copy does, as a user would after what happened before."""
        raise NotImplementedError

    def writing(self) -> set[Path]:
        """What is half written now."""
        return set()

    def meanwhile(self, copy: Copy) -> None:
        """What others do while the copy lives; called again and again."""

    def harm(self, copy: Copy) -> str:
        """After a kill: what was lost, or is half there under its name; empty if nothing."""
        return ""

    def wait(self, copy: Copy) -> None:
        """Let the copy come to its end."""
        copy.wait()

    def refused(self, copy: Copy) -> bool:
        """Whether the copy has ended in one line on what an earlier one left, which was now done as it says."""
        return False

    def ending(self, copy: Copy) -> str:
        """After the end: how the result differs from an undisturbed one; empty if it does not."""
        raise NotImplementedError

    def renew(self) -> None:
        """Begin again, from nothing."""

    def said(self) -> str:
        """The last line of the errors."""
        lines = self.errors.read_text(errors="replace").strip().splitlines() if self.errors.exists() else []
        return lines[-1] if lines else ""


class Training(Story):
    """`skipway train`, then `skipway train --resume`, to a bundle with its report."""

    name, writes = "training", 6

    def __init__(self, folder: Path, photos: Path) -> None:
        super().__init__(folder)
        self.photos, self.run = photos, folder / "run"
        self.weights, self.step = "", ""
        self.metrics: dict[str, Any] = {}

    def verb(self) -> str:
        return "resuming" if has_manifest(self.run) else "training"

    def work(self) -> Callable[[], None]:
        if has_manifest(self.run):
            return command(["train", "--resume", str(self.run)])
        return command(["train", str(self.photos), *TRAIN, *MACHINE, *EVERY_STEP, "--out", str(self.run)])

    def writing(self) -> set[Path]:
        return hidden(self.run) | hidden(self.run / "checkpoints")

    def harm(self, copy: Copy) -> str:
        found = checkpoints(self.run)
        if self.step and (not found or found[0].name < self.step):
            return f"the checkpoint {self.step} is lost"
        self.step = found[0].name if found else ""
        try:
            for folder in found:
                read(folder)
        except BundleError as error:
            return f"a checkpoint is damaged: {error}"
        return self.bundle_harm()

    def bundle_harm(self) -> str:
        """A bundle is whole, or says that it is unfinished."""
        if not self.run.is_dir() or not any(self.run.iterdir()):
            return ""
        try:
            bundle.read_card(self.run)
        except BundleError as error:
            return "" if "SHA256SUMS is missing" in str(error) else f"a bundle that is neither whole nor none: {error}"
        return "" if self.weights in ("", sha256(self.run / "weights.safetensors")) else "other weights in a bundle"

    def ending(self, copy: Copy) -> str:
        if copy.code:
            return f"exit code {copy.code}: {self.said()}"
        weights, metrics = sha256(self.run / "weights.safetensors"), bundle.read_card(self.run).metrics
        if not self.weights:
            self.weights, self.metrics = weights, metrics
        if weights != self.weights or metrics != self.metrics:
            return "other weights or metrics than those of the undisturbed run"
        return "" if (self.run / "report.html").is_file() else "no report"

    def renew(self) -> None:
        shutil.rmtree(self.run, ignore_errors=True)
        self.step = ""


class Exporting(Story):
    """`skipway export` to a new folder, in turns of formats."""

    name = "exporting"

    def __init__(self, folder: Path, run: Path, form: str) -> None:
        super().__init__(folder)
        self.run, self.form, self.out = run, form, folder / "export"
        self.whole: dict[str, str] = {}

    def work(self) -> Callable[[], None]:
        return command(["export", str(self.run), "--format", self.form, "--out", str(self.out)])

    def writing(self) -> set[Path]:
        return hidden(self.folder)

    def exported(self) -> dict[str, str]:
        """What must be equal: all but the evidence, which has times."""
        return {name: sha for name, sha in contents(self.out).items() if name not in ("evidence.json", "SHA256SUMS")}

    def harm(self, copy: Copy) -> str:
        return "a half-written export" if self.out.exists() and self.exported() != self.whole else ""

    def ending(self, copy: Copy) -> str:
        if copy.code:
            return f"exit code {copy.code}: {self.said()}"
        found = self.exported()
        self.whole = self.whole or found
        different = [name for name in found.keys() | self.whole.keys() if found.get(name) != self.whole.get(name)]
        return f"other files than those of the undisturbed export: {', '.join(different)}" if different else ""

    def renew(self) -> None:
        shutil.rmtree(self.out, ignore_errors=True)


class Downloading(Story):
    """`fetch`, which downloads all weights and data sets, from a slow server that can resume."""

    name, by_processor = "downloading", False

    def __init__(self, folder: Path, url: str, content: bytes, checksum: str) -> None:
        super().__init__(folder)
        self.url, self.content, self.checksum = url, content, checksum
        self.file = folder / "weights.bin"
        self.part = self.file.with_name(self.file.name + ".part")
        self.received = 0

    def work(self) -> Callable[[], None]:
        def download() -> None:
            fetch(self.url, self.file, f"sha256:{self.checksum}", Notice("weights"))

        return download

    def writing(self) -> set[Path]:
        return {self.part} if self.part.exists() else set()

    def harm(self, copy: Copy) -> str:
        if self.file.exists() and sha256(self.file) != self.checksum:
            return "a half-written download under its own name"
        part = self.part.read_bytes() if self.part.exists() else b""
        if not self.content.startswith(part):
            return "a beginning that is not the file's"
        if len(part) < self.received and not self.file.exists():
            return f"{self.received - len(part)} bytes that had been received are lost"
        self.received = len(part)
        return ""

    def ending(self, copy: Copy) -> str:
        if copy.code:
            return f"exit code {copy.code}: {self.said()}"
        if sha256(self.file) != self.checksum:
            return "another file"
        return "a beginning is left" if self.part.exists() else ""

    def renew(self) -> None:
        for file in (self.file, self.part):
            file.unlink(missing_ok=True)
        self.received = 0


class Labelling(Story):
    """`skipway predict`, with --csv to a file, or with --json and its output to a file."""

    name = "labelling"

    def __init__(self, folder: Path, run: Path, images: Sequence[str], as_json: bool) -> None:
        super().__init__(folder)
        self.words = ["predict", str(run), *images, *MACHINE]
        self.file = self.output if as_json else folder / "labels.csv"
        self.as_json, self.whole = as_json, b""

    def work(self) -> Callable[[], None]:
        if self.as_json:
            self.output.unlink(missing_ok=True)
            return command([*self.words, "--json"])
        return command([*self.words, "--csv", str(self.file)])

    def refused(self, copy: Copy) -> bool:
        left = unfinished(self.file)
        if copy.code == 2 and left.exists() and f"{left} is what an earlier run left: remove it" in self.said():
            left.unlink()
            return True
        return False

    def writing(self) -> set[Path]:
        part = self.output if self.as_json else unfinished(self.file)
        with suppress(OSError):
            return {part} if part.stat().st_size else set()
        return set()

    def harm(self, copy: Copy) -> str:
        if self.as_json:
            found = self.file.read_bytes() if self.file.exists() else b""
            return "" if self.whole.startswith(found) else "lines that are not those of the undisturbed command"
        if self.file.exists() and self.file.read_bytes() != self.whole:
            return "half-written labels under their own name"
        return ""

    def ending(self, copy: Copy) -> str:
        if copy.code:
            return f"exit code {copy.code}: {self.said()}"
        found = self.file.read_bytes()
        self.whole = self.whole or found
        return "" if found == self.whole else "other labels than those of the undisturbed command"

    def renew(self) -> None:
        for file in (self.file, unfinished(self.file)):
            file.unlink(missing_ok=True)


class Serving(Story):
    """`skipway serve`, asked all the time; every answer must be whole, and all its processes must end with it."""

    name, by_processor, writes = "serving", False, 0

    def __init__(self, folder: Path, run: Path, kind: str) -> None:
        super().__init__(folder)
        self.run, self.before, self.expected, self.wrong = run, contents(run), b"", ""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.kind, self.image = kind, encoded(kind)

    def work(self) -> Callable[[], None]:
        return command(["serve", str(self.run), "--port", str(self.port), "--device", "cpu", "--grace", "120"])

    def asked(self) -> bytes:
        return posted(self.port, self.image, self.kind, 0.2 if self.expected else 20)

    def meanwhile(self, copy: Copy) -> None:
        body = self.asked()
        if body and self.expected and answer_of(body) != answer_of(self.expected):
            self.wrong = f"another answer: {body[:200]!r}"
        time.sleep(0.005)

    def harm(self, copy: Copy) -> str:
        until = time.monotonic() + LEAVES
        while copy.left() and time.monotonic() < until:
            time.sleep(0.1)
        if copy.left():
            return f"{len(copy.left())} of its processes are still there after {LEAVES:.0f} s"
        return self.wrong or ("" if contents(self.run) == self.before else "the bundle has changed")

    def wait(self, copy: Copy) -> None:
        """Until it answers, and then after SIGTERM."""
        until, body = time.monotonic() + 120, b""
        while not body and not copy.ended() and time.monotonic() < until:
            time.sleep(0.05)
            body = self.asked()
        self.expected = self.expected or body
        if not body or answer_of(body) != answer_of(self.expected):
            self.wrong = f"another answer, or none: {body[:200]!r}"
        os.kill(copy.pid, signal.SIGTERM)
        copy.wait()

    def ending(self, copy: Copy) -> str:
        return f"exit code {copy.code}: {self.said()}" if copy.code else self.harm(copy)


def encoded(kind: str) -> bytes:
    """A small image."""
    stream = io.BytesIO()
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(stream, kind)
    return stream.getvalue()


def posted(port: int, image: bytes, kind: str, longest: float) -> bytes:
    """The body of the answer about an image; empty if there was none in time, not a whole one, or another status."""
    asked = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(image)}\r\n"
    found = b""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.settimeout(longest)
        connection.sendall(f"{asked}Content-Type: image/{kind.lower()}\r\n\r\n".encode() + image)
        while piece := connection.recv(65536):
            found += piece
    head, _, body = found.partition(b"\r\n\r\n")
    return body if head.startswith(b"HTTP/1.1 200") and json_of(body) is not None else b""


def json_of(body: bytes) -> Any:
    """The JSON of an answer; None for what is none."""
    try:
        return json.loads(body)
    except ValueError:
        return None


def answer_of(body: bytes) -> Any:
    """What is predicted in an answer, without its times."""
    found = json_of(body)
    return found.get("images") if isinstance(found, dict) else found
