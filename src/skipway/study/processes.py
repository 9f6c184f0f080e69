"""Trainings in turn, or several at a time in processes of their own: a signal has all save their state and end."""

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
from skipway.study.runs import Machine, Outcome, Run, describe, outcome_of, perform
from skipway.training.interrupt import PASSED_ON, Interrupted, noticing

POLL = 0.2  # seconds from a signal until it is passed on, at most


def perform_all(runs: Sequence[Run], shelf: Path, machine: Machine, console: Console) -> None:
    """Every run of `runs` that is not yet done, `machine.jobs` at a time in processes of their own."""
    missing = [run for run in runs if outcome_of(shelf / run.key) is None]
    console.print(f"{len(runs)} trainings, {len(runs) - len(missing)} of them done already")
    if machine.jobs == 1 or len(missing) < 2:
        for count, run in enumerate(missing, 1):
            outcome = perform(run, shelf / run.key, machine)
            console.print(f"{count} of {len(missing)}  {describe(run, outcome)}", soft_wrap=True)
        return
    perform_at_once(missing, shelf, machine, console)


@dataclass(frozen=True)
class Apart:
    """A run in a process of its own, which sends what `perform` gave or raised, or dies and sends nothing."""

    run: Run
    process: SpawnProcess
    answer: Connection

    def outcome(self) -> Outcome:
        """What came of the run, once `answer` is ready. Raises what `perform` did; SkipwayError for a death."""
        try:
            said = self.answer.recv()
        except EOFError:
            said = None
        self.process.join()
        if isinstance(said, Exception):
            raise said
        if said is None:
            code = self.process.exitcode or 0
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise SkipwayError(f"{self.run.title}: its process {how}; the same command goes on where the study was")
        return said


def begin_apart(run: Run, folder: Path, machine: Machine) -> Apart:
    """`run` begun in a process that Ctrl-C does not reach: a terminal sends it to all, and this one passes it on."""
    context = get_context("spawn")
    answer, told = context.Pipe(duplex=False)
    process = context.Process(target=answer_with, args=(told, run, folder, machine))
    resource_tracker.ensure_running()  # `start` would begin it, which lifts any block
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a new process inherits it and keeps it
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        told.close()  # the new process has the only one, so that its death is the end of `answer`
    return Apart(run, process, answer)


def answer_with(told: Connection, run: Run, folder: Path, machine: Machine) -> None:
    """The life of a process of `begin_apart`. Before and after its steps PASSED_ON just ends it: nothing is lost."""
    try:
        told.send(perform(run, folder, machine))
    except (SkipwayError, Interrupted) as fault:
        told.send(fault)


def tell(processes: Sequence[SpawnProcess], number: int) -> None:
    """Send a signal to those that live."""
    for process in processes:
        if process.pid and process.is_alive():
            os.kill(process.pid, number)


def require_unasked(number: int) -> None:
    """Raises Interrupted when a signal, its number, asked for an end."""
    if number:
        raise Interrupted(number, 0, "the same command")


def perform_at_once(runs: Sequence[Run], shelf: Path, machine: Machine, console: Console) -> None:
    """`runs`, `machine.jobs` at a time; a process has one, so that none waits where a signal does not reach it.

    Whatever ends this early, a signal or a fault of one run, has those that train save their state and end, which takes
    a step each, and no other begun: the message comes at once, and no step is lost. Raises Interrupted for a signal.
    """
    left, done = list(runs), 0
    going: list[Apart] = []
    with noticing(lambda: tell([one.process for one in going], signal.SIGKILL)) as stopping:
        try:
            while left or going:
                while left and len(going) < machine.jobs:
                    run = left.pop(0)
                    going.append(begin_apart(run, shelf / run.key, machine.one()))
                ready = wait([one.answer for one in going], POLL)
                require_unasked(stopping())
                for one in [one for one in going if one.answer in ready]:
                    outcome = one.outcome()
                    going.remove(one)
                    done += 1
                    console.print(f"{done} of {len(runs)}  {describe(one.run, outcome)}", soft_wrap=True)
            require_unasked(stopping())
        finally:
            tell([one.process for one in going], PASSED_ON)
            for one in going:
                one.process.join()
