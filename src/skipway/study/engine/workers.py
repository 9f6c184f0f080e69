"""Training runs one after another or in parallel processes, which save their state when the study is stopped."""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from rich.console import Console

from skipway.errors import SkipwayError
from skipway.study.engine.runs import Machine, Outcome, StudyRun, describe, outcome_of, train_run
from skipway.training.signals import PASSED_ON, Interrupted, handle_signals

POLL = 0.2  # maximum number of seconds until a signal is passed on


def train_all(runs: Sequence[StudyRun], shelf: Path, machine: Machine, console: Console) -> None:
    """Train every run that is not done, `machine.jobs` at a time, in folders below `shelf`."""
    missing = [run for run in runs if outcome_of(shelf / run.key) is None]
    console.print(f"{len(runs)} training runs, {len(runs) - len(missing)} already done")
    if machine.jobs == 1 or len(missing) < 2:
        for count, run in enumerate(missing, 1):
            outcome = train_run(run, shelf / run.key, machine)
            console.print(f"{count}/{len(missing)}  {describe(run, outcome)}", soft_wrap=True)
        return
    train_in_parallel(missing, shelf, machine, console)


@dataclass(frozen=True)
class WorkerProcess:
    """A run in a separate process, which sends the outcome or the exception of `train_run`, or nothing if it dies."""

    run: StudyRun
    process: SpawnProcess
    receiver: Connection

    def outcome(self) -> Outcome:
        """The outcome of the run, once `receiver` is ready. Raises the exception of `train_run`, or SkipwayError if the
        process died."""
        try:
            message = self.receiver.recv()
        except EOFError:
            message = None
        self.process.join()
        if isinstance(message, Exception):
            raise message
        if message is None:
            code = self.process.exitcode or 0
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise SkipwayError(f"{self.run.title}: its process {how}; repeat the same command to continue the study")
        return message


def start_worker(run: StudyRun, folder: Path, machine: Machine) -> WorkerProcess:
    """Start `run` in a process that ignores Ctrl-C: a terminal sends it to all processes, and the parent passes it
    on."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run_worker, args=(sender, run, folder, machine))
    resource_tracker.ensure_running()  # otherwise `start` would start it, which unblocks all signals
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited by the new process, which keeps it
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        sender.close()  # only the new process holds the other end, so `receiver` is closed when it dies
    return WorkerProcess(run, process, receiver)


def run_worker(sender: Connection, run: StudyRun, folder: Path, machine: Machine) -> None:
    """Main function of a worker process. Before and after training, PASSED_ON simply ends it: nothing is lost."""
    try:
        sender.send(train_run(run, folder, machine))
    except (SkipwayError, Interrupted) as fault:
        sender.send(fault)


def send_signal(processes: Sequence[SpawnProcess], number: int) -> None:
    """Send a signal to the processes that are alive."""
    for process in processes:
        if process.pid and process.is_alive():
            os.kill(process.pid, number)


def raise_if_interrupted(number: int) -> None:
    """Raise Interrupted if a signal was received; `number` is 0 if not."""
    if number:
        raise Interrupted(number, 0, "the same command")


def train_in_parallel(runs: Sequence[StudyRun], shelf: Path, machine: Machine, console: Console) -> None:
    """Train `runs`, `machine.jobs` at a time. Each process has a single run, so that none is queued where signals do
    not reach it.

    If a signal or an error of one run ends this early, the other processes finish their step, save their state and end,
    and no further run is started: the message comes at once, and no step is lost. Raises Interrupted for a signal.
    """
    pending, done = list(runs), 0
    workers: list[WorkerProcess] = []
    with handle_signals(lambda: send_signal([one.process for one in workers], signal.SIGKILL)) as stopping:
        try:
            while pending or workers:
                while pending and len(workers) < machine.jobs:
                    run = pending.pop(0)
                    workers.append(start_worker(run, shelf / run.key, machine.one()))
                ready = wait([one.receiver for one in workers], POLL)
                raise_if_interrupted(stopping())
                for worker in [one for one in workers if one.receiver in ready]:
                    outcome = worker.outcome()
                    workers.remove(worker)
                    done += 1
                    console.print(f"{done}/{len(runs)}  {describe(worker.run, outcome)}", soft_wrap=True)
            raise_if_interrupted(stopping())
        finally:
            send_signal([one.process for one in workers], PASSED_ON)
            for worker in workers:
                worker.process.join()
