"""Training while things fail around it; each function is a case, and its name what is claimed."""

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.chaos.conditions import (
    Condition,
    SmallDisk,
    all_of,
    clock_jumps,
    closed,
    environment,
    limited,
    memory_left,
    nothing,
    own_mounts,
    sent_to,
)
from benchmarks.chaos.forked import POLL, Copy, command, start
from benchmarks.chaos.outcome import Outcome, last_line, require
from benchmarks.chaos.stories import EVERY_STEP, MACHINE, TRAIN
from skipway.bundle import sha256
from skipway.training.checkpoint_manager import checkpoints

EPOCHS = ("--epochs", "15")
STREAMED = ("--crop", "resized", "--workers", "2")  # files are read in every epoch, by worker processes
DAY = 86_400.0


def read_files() -> None:
    """Have files read in every epoch, however small the set is."""
    from skipway.training import dataloaders

    vars(dataloaders)["decoded_side"] = lambda *_: None


class Trainings:
    """Runs on the same data, each compared with the undisturbed one with the same options."""

    def __init__(self, folder: Path, photos: Path) -> None:
        self.folder, self.photos, self.count = folder, photos, 0
        self.whole: dict[tuple[str, ...], str] = {}
        folder.mkdir()

    def run(self, *words: str, condition: Condition = nothing, disk: Path | None = None) -> "Run":
        """One that has not been started. disk: the folder that it is in, None for one of its own."""
        self.count += 1
        place = (disk or self.folder) / f"run{self.count}"
        return Run(self, place, self.folder / f"{self.count}.said", words, condition)

    def undisturbed(self, words: tuple[str, ...]) -> str:
        """The checksum of the weights."""
        if words not in self.whole:
            run = self.run(*words, condition=read_files if "--crop" in words else nothing)
            require(run.start().wait() == 0, f"the undisturbed run fails: {run.line()}")
            self.whole[words] = run.weights()
        return self.whole[words]


class Run:
    """A training's folder, and the process that trains in it."""

    def __init__(
        self, trainings: Trainings, place: Path, said: Path, words: tuple[str, ...], condition: Condition
    ) -> None:
        self.trainings, self.place, self.said, self.words, self.condition = trainings, place, said, words, condition
        self.copy: Copy | None = None
        self.began = time.monotonic()

    def start(self, condition: Condition | None = None) -> Copy:
        words = ["train", str(self.trainings.photos), *TRAIN, *MACHINE, *EVERY_STEP, *EPOCHS, *self.words]
        return self.do([*words, "--out", str(self.place)], condition)

    def resume(self, condition: Condition | None = None) -> Copy:
        return self.do(["train", "--resume", str(self.place)], condition)

    def do(self, words: list[str], condition: Condition | None) -> Copy:
        before = condition or self.condition
        work: Callable[[], None] = all_of(before, command(words))
        self.copy = start(work, self.said, self.said)
        return self.copy

    def step(self) -> int:
        """Of the newest checkpoint."""
        found = checkpoints(self.place)
        return int(found[0].name.rpartition("-")[2]) if found else 0

    def until_step(self, step: int, longest: float = 120.0) -> None:
        """Wait until the checkpoint of `step` is there, and the run goes on."""
        assert self.copy is not None
        until = time.monotonic() + longest
        while self.step() < step:
            require(not self.copy.ended(), f"it ended before step {step}: {self.line()}")
            require(time.monotonic() < until, f"no step {step} within {longest:.0f} s")
            time.sleep(POLL)

    def weights(self) -> str:
        return sha256(self.place / "weights.safetensors")

    def line(self) -> str:
        return last_line(self.said)

    def outcome(self, line: str = "") -> Outcome:
        """The end of the run, which must have the weights of the undisturbed one."""
        assert self.copy is not None
        seconds, code = time.monotonic() - self.began, self.copy.wait()
        require(code == 0, f"exit code {code}: {self.line()}")
        require(self.weights() == self.trainings.undisturbed(self.words), "other weights than the undisturbed run's")
        return Outcome("equal weights", seconds, line or self.line())

    def refusal(self, said: str, within: float) -> str:
        """The line in which it ended; it must hold `said`, be the only one of its kind, and come in time."""
        assert self.copy is not None
        began = time.monotonic()
        code = self.copy.wait(within)
        require(code == 2, f"exit code {code}: {self.line()}")
        require("Traceback" not in self.said.read_text(), f"a traceback: {self.line()}")
        require(said in self.line(), f"another line: {self.line()}")
        require(time.monotonic() - began < within, f"later than {within:.0f} s")
        return self.line()


@contextmanager
def paused(copy: Copy) -> Iterator[None]:
    """A context in which the process is stopped, so that it meets what is done there in the middle of its work."""
    os.kill(copy.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(copy.pid, signal.SIGCONT)


def killed_it_goes_on(made: Trainings) -> Outcome:
    run = made.run()
    copy = run.start()
    run.until_step(4)
    copy.kill()
    run.resume()
    return run.outcome()


def stopped_for_five_seconds_it_goes_on(made: Trainings) -> Outcome:
    run = made.run()
    copy = run.start()
    run.until_step(4)
    with paused(copy):
        time.sleep(5)
    return run.outcome()


def ended_by(number: signal.Signals) -> Callable[[Trainings], Outcome]:
    """A signal to end: saved, said, and gone on with."""

    def case(made: Trainings) -> Outcome:
        run = made.run()
        copy = run.start()
        run.until_step(4)
        os.kill(copy.pid, number)
        require(copy.wait(60) == 128 + number, f"exit code {copy.code}")
        line = run.line()
        require(f"stopped by {number.name} after step" in line, line)
        run.resume()
        return run.outcome(line)

    return case


def a_full_disk_at_the_start_is_a_line(made: Trainings) -> Outcome:
    with SmallDisk(made.folder / "disk0", 8) as disk:
        run = made.run(disk=disk.folder)
        run.start()
        return Outcome("one line", time.monotonic() - run.began, run.refusal("free space", 60))


def a_disk_that_fills_is_a_line_and_with_room_it_goes_on(made: Trainings) -> Outcome:
    with SmallDisk(made.folder / "disk1", 80) as disk:
        run = made.run(disk=disk.folder)
        copy = run.start()
        run.until_step(4)
        with paused(copy):
            disk.fill()
        line = run.refusal("free some space", 120)
        require("a checkpoint could not be written" in run.said.read_text(), "no word on checkpoints")
        disk.empty()
        run.resume()
        return run.outcome(line)


def a_disk_without_room_for_another_file_is_a_line_and_it_goes_on(made: Trainings) -> Outcome:
    with SmallDisk(made.folder / "disk2", 80) as disk:
        run = made.run(disk=disk.folder)
        copy = run.start()
        run.until_step(4)
        with paused(copy):
            disk.fill_names()
        line = run.refusal("free some space", 120)
        disk.empty_names()
        run.resume()
        return run.outcome(line)


def a_limit_on_the_size_of_files_is_a_line_and_without_it_goes_on(made: Trainings) -> Outcome:
    run = made.run()
    run.start(limited(resource.RLIMIT_FSIZE, 500_000))
    line = run.refusal("cannot be written", 120)
    run.resume()
    return run.outcome(line)


def forty_open_files_are_enough_or_a_line(made: Trainings) -> Outcome:
    run = made.run(*STREAMED)
    copy = run.start(all_of(read_files, limited(resource.RLIMIT_NOFILE, 40)))
    return run.outcome() if copy.wait(120) == 0 else one_line(run)


def little_memory_is_enough_or_a_line(made: Trainings) -> Outcome:
    run = made.run()
    copy = run.start(memory_left(40))
    return run.outcome() if copy.wait(120) == 0 else one_line(run)


def one_line(run: Run) -> Outcome:
    """The line in which a run ended, after which it goes on to equal weights."""
    line = run.refusal("", 1)
    if run.place.exists() and any(run.place.iterdir()):
        run.resume(read_files if "--crop" in run.words else nothing)
        return run.outcome(line)
    return Outcome("one line", time.monotonic() - run.began, line)


def data_that_vanish_are_a_line_and_once_back_it_goes_on(made: Trainings) -> Outcome:
    run = made.run(*STREAMED, condition=read_files)
    away = made.photos.with_name("away")
    run.start()
    run.until_step(4)
    made.photos.rename(away)
    try:
        line = run.refusal("to continue", 120)
    finally:
        away.rename(made.photos)
    run.resume()
    return run.outcome(line)


def data_that_are_gone_are_a_line_when_it_is_resumed(made: Trainings) -> Outcome:
    run = made.run()
    copy = run.start()
    run.until_step(4)
    copy.kill()
    away = made.photos.with_name("away")
    made.photos.rename(away)
    try:
        run.resume()
        line = run.refusal(str(made.photos), 60)
    finally:
        away.rename(made.photos)
    run.resume()
    return run.outcome(line)


def the_clock_jumps(seconds: float) -> Callable[[Trainings], Outcome]:
    """In the middle of a run, and back when it goes on."""

    def case(made: Trainings) -> Outcome:
        run = made.run(condition=clock_jumps(seconds, 0.5))
        copy = run.start()
        run.until_step(8)
        copy.kill()
        run.resume()
        return run.outcome()

    return case


def a_full_dev_shm_is_enough_for_its_workers_or_a_line(made: Trainings) -> Outcome:
    run = made.run(*STREAMED)
    full = own_mounts("-t", "tmpfs", "-o", "size=4k", "tmpfs", "/dev/shm")
    copy = run.start(all_of(read_files, full))
    return run.outcome() if copy.wait(120) == 0 else one_line(run)


def a_read_only_home_does_not_matter(made: Trainings) -> Outcome:
    home = made.folder / "home"
    home.mkdir()
    gone = {"XDG_CACHE_HOME": str(home / "cache"), "MPLCONFIGDIR": str(home / "mpl")}
    only_read = own_mounts("-t", "tmpfs", "-o", "ro", "tmpfs", str(home))
    run = made.run(condition=all_of(only_read, environment(HOME=str(home), **gone)))
    run.start()
    return run.outcome()


def closed_standard_streams_do_not_matter(made: Trainings) -> Outcome:
    run = made.run(condition=all_of(closed(0), closed(1)))
    run.start()
    return run.outcome()


def a_broken_pipe_ends_it_saved_and_it_goes_on(made: Trainings) -> Outcome:
    reading, writing = os.pipe()
    run = made.run()

    def piped() -> None:
        os.dup2(writing, 1)
        os.close(reading)
        os.close(writing)

    copy = run.start(piped)
    os.close(writing)
    run.until_step(4)
    os.close(reading)
    copy.wait(120)
    require("Traceback" not in run.said.read_text(), f"a traceback: {run.line()}")
    line = f"exit code {copy.code}"
    run.resume()
    return run.outcome(line)


def output_on_a_full_disk_does_not_matter(made: Trainings) -> Outcome:
    run = made.run(condition=sent_to(Path("/dev/full"), 1))
    run.start()
    return run.outcome()


def a_second_run_in_the_same_folder_is_a_line(made: Trainings) -> Outcome:
    run = made.run()
    first = run.start()
    run.until_step(2)
    with paused(first):
        run.resume()
        line = run.refusal("is training in", 60)
    run.copy = first
    return run.outcome(line)


def a_damaged_checkpoint_is_said_and_the_one_before_is_used(made: Trainings) -> Outcome:
    run = made.run()
    copy = run.start()
    run.until_step(6)
    copy.kill()
    newest = checkpoints(run.place)[0] / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    run.resume()
    outcome = run.outcome()
    damaged = next((line for line in run.said.read_text().splitlines() if "is damaged" in line), "")
    require(bool(damaged), "no word on the damage")
    return Outcome(outcome.what, outcome.seconds, damaged)


def a_killed_loader_worker_is_a_line_and_it_goes_on(made: Trainings) -> Outcome:
    run = made.run(*STREAMED, condition=read_files)
    copy = run.start()
    run.until_step(4)
    with paused(copy):
        require(bool(copy.left()), "no workers")
        for worker in copy.left():
            os.kill(worker, signal.SIGKILL)
    line = run.refusal("to continue", 120)
    run.resume()
    return run.outcome(line)


CASES: dict[str, Callable[[Trainings], Outcome]] = {
    "SIGKILL": killed_it_goes_on,
    "SIGSTOP for 5 s, SIGCONT": stopped_for_five_seconds_it_goes_on,
    "SIGTERM": ended_by(signal.SIGTERM),
    "SIGHUP": ended_by(signal.SIGHUP),
    "SIGINT": ended_by(signal.SIGINT),
    "a full disk at the start": a_full_disk_at_the_start_is_a_line,
    "a disk that fills": a_disk_that_fills_is_a_line_and_with_room_it_goes_on,
    "a disk without room for another file": a_disk_without_room_for_another_file_is_a_line_and_it_goes_on,
    "ulimit -f": a_limit_on_the_size_of_files_is_a_line_and_without_it_goes_on,
    "ulimit -n 40": forty_open_files_are_enough_or_a_line,
    "ulimit -v, 40 MB left": little_memory_is_enough_or_a_line,
    "data that vanish": data_that_vanish_are_a_line_and_once_back_it_goes_on,
    "data that are gone on resuming": data_that_are_gone_are_a_line_when_it_is_resumed,
    "the clock jumps a day ahead": the_clock_jumps(DAY),
    "the clock jumps a year back": the_clock_jumps(-365 * DAY),
    "/dev/shm full, two loader workers": a_full_dev_shm_is_enough_for_its_workers_or_a_line,
    "a read-only HOME": a_read_only_home_does_not_matter,
    "standard input and output closed": closed_standard_streams_do_not_matter,
    "a broken pipe": a_broken_pipe_ends_it_saved_and_it_goes_on,
    "output to a full disk": output_on_a_full_disk_does_not_matter,
    "a second run in the same folder": a_second_run_in_the_same_folder_is_a_line,
    "a damaged checkpoint": a_damaged_checkpoint_is_said_and_the_one_before_is_used,
    "a loader worker killed": a_killed_loader_worker_is_a_line_and_it_goes_on,
}
