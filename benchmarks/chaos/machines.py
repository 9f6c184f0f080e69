"""Two to three machines, each a network namespace, that train together under torchrun (gloo, c10d rendezvous).

The machines share a disk and have a network of their own: a bridge, or, where packets are to be lost and late, a switch
in Python (switch.py), since not every kernel has netem.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from safetensors.torch import load_file

from benchmarks.chaos.outcome import Failure, Outcome, require
from benchmarks.chaos.stories import EVERY_STEP, MACHINE, TRAIN, photographs
from skipway.bundle import sha256
from skipway.training.checkpoint_manager import checkpoints

NETWORK, PORT = "10.77.0", 29400
EPOCHS = ("--epochs", "12", "--deterministic")
LONGEST = 400.0  # seconds of a case, on a busy machine
RESTARTS = "6"
CUT = 20.0  # seconds


def system(*words: str) -> str:
    """Run a command; returns what it prints. Raises CalledProcessError."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def may_have_namespaces() -> bool:
    """Whether this process may make network namespaces."""
    name = f"probe{os.getpid()}"
    try:
        system("ip", "netns", "add", name)
        system("ip", "netns", "del", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


class Machines:
    """`count` machines on a network, and the processes on them; in a context. loss, late: of packets (switch.py)."""

    def __init__(self, folder: Path, count: int, loss: float = 0.0, late: float = 0.0) -> None:
        self.folder, self.names = folder, [f"m{os.getpid()}x{i}" for i in range(count)]
        self.outside = [f"v{os.getpid()}x{i}" for i in range(count)]
        self.bridge, self.loss, self.late = f"b{os.getpid()}", loss, late
        self.photos, self.run = folder / "photos", folder / "run"
        self.began = time.monotonic()
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.switch: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Machines":
        self.folder.mkdir(parents=True)
        photographs(self.photos)
        for i, (name, outside) in enumerate(zip(self.names, self.outside, strict=True)):
            system("ip", "netns", "add", name)
            system("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name)
            system("ip", "-n", name, "addr", "add", f"{NETWORK}.{i + 1}/24", "dev", "eth0")
            for interface in ("lo", "eth0"):
                system("ip", "-n", name, "link", "set", interface, "up")
            system("ip", "link", "set", outside, "up")
        if self.loss or self.late:
            words = [sys.executable, "-m", "benchmarks.chaos.switch", *self.outside, "--loss", str(self.loss)]
            self.switch = subprocess.Popen([*words, "--late", str(self.late)])
            return self
        system("ip", "link", "add", self.bridge, "type", "bridge")
        for outside in self.outside:
            system("ip", "link", "set", outside, "master", self.bridge)
        system("ip", "link", "set", self.bridge, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for i in range(len(self.names)):
            self.kill(i)
        if self.switch is not None:
            self.switch.kill()
            self.switch.wait()
        for words in [("ip", "netns", "del", name) for name in self.names] + [("ip", "link", "del", self.bridge)]:
            with suppress(subprocess.CalledProcessError):
                system(*words)

    def start(self, i: int, nodes: str = "2") -> None:
        """torchrun on machine `i`, of `nodes` ("2", or "1:4")."""
        torchrun = ["-m", "torch.distributed.run", "--nnodes", nodes, "--nproc-per-node", "1"]
        torchrun += ["--max-restarts", RESTARTS, "--rdzv-backend", "c10d", "--rdzv-id", "chaos"]
        torchrun += ["--rdzv-conf", f"is_host={str(i == 0).lower()}"]  # which it would decide by the host's name
        torchrun += ["--rdzv-endpoint", f"{NETWORK}.1:{PORT}", "--local-addr", f"{NETWORK}.{i + 1}"]
        train = ["-m", "skipway", "train", str(self.photos), *TRAIN, *MACHINE, *EVERY_STEP, *EPOCHS]
        words = ["ip", "netns", "exec", self.names[i], sys.executable, *torchrun, *train, "--out", str(self.run)]
        # torchrun (torch 2.15) tells a machine that comes later the address of the store only if each start has its own
        variables = os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        variables |= {"GLOO_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "1"}
        with self.said(i).open("ab") as said:
            self.processes[i] = subprocess.Popen(words, stdout=said, stderr=said, env=variables)

    def said(self, i: int) -> Path:
        return self.folder / f"said{i}"

    def lines(self, part: str) -> list[str]:
        """What our own program said anywhere that holds `part`."""
        files = [self.said(i) for i in range(len(self.names)) if self.said(i).exists()]
        return [line for file in files for line in file.read_text(errors="replace").splitlines() if part in line]

    def kill(self, i: int) -> None:
        """Everything on machine `i`, at once."""
        for pid in system("ip", "netns", "pids", self.names[i]).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        if i in self.processes:
            self.processes.pop(i).wait()

    def cut(self, i: int, seconds: float) -> None:
        """No link between machine `i` and the others for so long."""
        system("ip", "link", "set", self.outside[i], "down")
        time.sleep(seconds)
        system("ip", "link", "set", self.outside[i], "up")

    def step(self) -> int:
        found = checkpoints(self.run)
        return int(found[0].name.rpartition("-")[2]) if found else 0

    def until(self, happens: Callable[[], bool], what: str, longest: float = LONGEST) -> None:
        until = time.monotonic() + longest
        while not happens():
            require(time.monotonic() < until, f"{what}: not within {longest:.0f} s; step {self.step()}")
            require(any(p.poll() is None for p in self.processes.values()), f"{what}: all have ended; {self.tail()}")
            time.sleep(0.05)

    def until_step(self, step: int) -> None:
        self.until(lambda: self.step() >= step, f"step {step}")

    def tail(self) -> str:
        found = self.lines("skipway: ")
        return found[-1] if found else ""

    def ends(self) -> None:
        """All processes end, and well."""
        for i, process in self.processes.items():
            try:
                code = process.wait(LONGEST)
            except subprocess.TimeoutExpired:
                raise Failure(f"machine {i + 1} has not ended after {LONGEST:.0f} s; step {self.step()}") from None
            require(code == 0, f"machine {i + 1} ended with code {code}: {self.tail()}")

    def outcome(self, whole: str, line: str) -> Outcome:
        """The end, with the weights of the undisturbed run."""
        self.ends()
        seconds = time.monotonic() - self.began
        require(sha256(self.run / "weights.safetensors") == whole, "other weights than the undisturbed run's")
        return Outcome("equal weights", seconds, line)


class Cases:
    """The cases, which are compared with one undisturbed run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.whole, self.weights = folder, "", folder / "whole.safetensors"

    def undisturbed(self) -> Outcome:
        with Machines(self.folder / "undisturbed", 2) as machines:
            machines.start(0)
            machines.start(1)
            machines.ends()
            weights = machines.run / "weights.safetensors"
            self.whole = sha256(weights)
            self.weights.write_bytes(weights.read_bytes())
            return Outcome("ended", time.monotonic() - machines.began, f"SHA-256 {self.whole[:16]}")

    def link_cut(self) -> Outcome:
        with Machines(self.folder / "cut", 2) as machines:
            machines.start(0)
            machines.start(1)
            machines.until_step(4)
            machines.cut(1, CUT)
            return machines.outcome(self.whole, f"cut for {CUT:.0f} s after step 4; {self.noticed(machines)}")

    def packets_lost_and_late(self) -> Outcome:
        with Machines(self.folder / "lossy", 2, loss=0.02, late=0.01) as machines:
            machines.start(0)
            machines.start(1)
            return machines.outcome(self.whole, "2 % of packets lost, the others 10 ms late on average, up to 20 ms")

    def killed_and_back(self) -> Outcome:
        with Machines(self.folder / "killed", 2) as machines:
            machines.start(0)
            machines.start(1)
            machines.until_step(4)
            machines.kill(1)
            machines.until(lambda: bool(machines.lines("another process died")), "a line on the lost process", 90)
            machines.start(1)
            return machines.outcome(self.whole, machines.lines("another process died")[-1])

    def killed_before_the_first_step(self) -> Outcome:
        """The other is named, and the run goes on when it comes."""
        with Machines(self.folder / "late", 2) as machines:
            machines.start(0)
            machines.start(1)
            machines.until(lambda: bool(list(machines.run.parent.glob("run/run.json"))), "a run")
            machines.kill(1)
            machines.start(1)
            return machines.outcome(self.whole, self.noticed(machines))

    def added(self) -> Outcome:
        """A second machine joins a run of one: it goes on from its checkpoint, with other sums, so close weights."""
        with Machines(self.folder / "added", 2) as machines:
            machines.start(0, "1:4")
            machines.until_step(4)
            machines.start(1, "1:4")
            return self.close(machines, "a second machine joined after step 4")

    def lost_for_good(self) -> Outcome:
        with Machines(self.folder / "lost", 2) as machines:
            machines.start(0, "1:4")
            machines.start(1, "1:4")
            machines.until_step(4)
            machines.kill(1)
            return self.close(machines, "the second machine was lost after step 4")

    def noticed(self, machines: Machines) -> str:
        found = [*machines.lines("no sign of"), *machines.lines("another process died"), *machines.lines("waiting for")]
        return found[-1] if found else "nothing was said"

    def close(self, machines: Machines, what: str) -> Outcome:
        """The run has ended with a bundle, of another number of processes than the undisturbed one from a step on."""
        machines.ends()
        seconds = time.monotonic() - machines.began
        ours, theirs = load_file(machines.run / "weights.safetensors"), load_file(self.weights)
        off = max(float((ours[k].float() - theirs[k].float()).abs().max()) for k in theirs if "num_batches" not in k)
        resumed = len(machines.lines("resumed at step"))
        line = f"{what}; it went on {resumed} times from a checkpoint and ended; weights differ by at most {off:.3g}"
        return Outcome("one line", seconds, line)


def cases(folder: Path) -> dict[str, Callable[[], Outcome]]:
    """By name; skipped with a reason where there are no namespaces."""
    made = Cases(folder)
    found = {
        "two machines, undisturbed": made.undisturbed,
        f"the link cut for {CUT:.0f} s": made.link_cut,
        "packets lost and late": made.packets_lost_and_late,
        "a machine killed and back": made.killed_and_back,
        "a machine killed before the first step and back": made.killed_before_the_first_step,
        "a machine added (1:4)": made.added,
        "a machine lost for good (1:4)": made.lost_for_good,
    }
    if may_have_namespaces():
        return found
    reason = "network namespaces need root and the kernel's leave, which this process does not have"
    return dict.fromkeys(found, lambda: Outcome("skipped", 0.0, reason))
