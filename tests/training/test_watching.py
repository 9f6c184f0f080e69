"""What is to be seen of a run while it goes: on a terminal, and in a file."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from small import CPU, SHORT, before_step, few_digits

from skipway.training import hooks, loop
from skipway.training.progress import Status, memory_used, peak_memory, progress_line, time_estimate_message
from skipway.training.time_left import ProgressTimer

AT_120 = Status(2, 40, 120, 3200, 1.2345, 310.4, 0.031, 725.0)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def printed(times: list[tuple[float, Status]]) -> dict[float, str]:
    """The line that each call gives without a terminal, by the time of the call."""
    clock, file, found = Clock(), io.StringIO(), {}
    with progress_line(Console(file=file, width=200), CPU, clock) as advance:
        for clock.now, status in times:
            before = len(file.getvalue())
            advance(status)
            if file.getvalue()[before:]:
                found[clock.now] = file.getvalue()[before:]
    return found


def every(seconds: float, until: float, epoch_seconds: float) -> list[tuple[float, Status]]:
    """Calls at these intervals, in epochs of so many seconds."""
    times = [seconds * i for i in range(1, int(until / seconds) + 1)]
    return [(now, replace(AT_120, epoch=1 + int((now - 1e-6) // epoch_seconds))) for now in times]


def test_without_a_terminal_a_line_tells_where_the_run_stands() -> None:
    (line,) = printed([(31.0, AT_120)]).values()
    assert "\n" not in line[:-1]
    assert re.fullmatch(
        r"step 120 of 3,200, epoch 2 of 40, loss 1\.234, 310 images/s, about 12 min left, \d+\.\d GB\n", line
    )


@pytest.mark.parametrize("seconds", [0.2, 1.0, 7.0, 12.0])
def test_no_more_than_thirty_seconds_pass_without_a_line(seconds: float) -> None:
    times = list(printed(every(seconds, 600, 1e9)))
    gaps = [later - earlier for earlier, later in zip([0.0, *times], times, strict=False)]
    assert max(gaps) <= 30 + 1e-6
    assert min(gaps) >= 15, "and not many more"


def test_steps_longer_than_thirty_seconds_have_a_line_each() -> None:
    assert list(printed(every(45.0, 180, 1e9))) == [45.0, 90.0, 135.0, 180.0]


def test_epochs_that_have_a_line_oftener_than_that_need_no_other() -> None:
    assert printed(every(1.0, 300, 20.0)) == {}
    assert len(printed(every(1.0, 300, 50.0))) == 6, "one in each longer epoch"


def test_a_long_validation_has_lines_too() -> None:
    (line,) = printed([(31.0, replace(AT_120, validated=(320, 1000)))]).values()
    assert line.startswith("step 120 of 3,200, epoch 2 of 40, validation, 320 of 1,000 images, about 12 min left, ")


@pytest.mark.parametrize("columns", [80, 120])
def test_the_bar_tells_time_left_speed_and_memory_in_a_terminals_line(columns: int) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=columns, color_system=None)
    worst = Status(100, 120, 123_400, 456_700, 1.0, 12_345.0, 0.031, 83 * 3600.0)
    with progress_line(console, CPU, Clock()) as advance:
        advance(worst)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    line = next(line for line in re.split(r"[\r\n]+", shown) if "100/120" in line)
    assert len(line.rstrip()) <= columns
    assert "…" not in line
    assert re.search(r"123400/456700\s+83 h 0 min left\s+12,345 images/s\s.*\d\.\d GB", line)
    assert "━" in line
    assert ("waiting 3.1 %" in line) == (columns == 120)


def test_the_outlook_tells_time_steps_and_memory_and_what_to_do_when_it_is_long() -> None:
    gpu = replace(CPU, device=torch.device("cuda"))
    assert time_estimate_message(840, 0, 3200, 1_900_000_000, CPU) == "about 14 min (3,200 steps), 1.9 GB"
    advice = "; for a shorter run: a smaller --model or --size, or --budget 10m"
    assert time_estimate_message(12_000, 0, 32_000, 10**9, CPU) == f"about 3 h 20 min (32,000 steps), 1.0 GB{advice}"
    assert time_estimate_message(12_000, 0, 32_000, 10**9, gpu) == "about 3 h 20 min (32,000 steps), 1.0 GB"
    rest = "about 3 h 20 min (31,000 of 32,000 steps left), 1.0 GB"
    assert time_estimate_message(12_000, 1000, 32_000, 10**9, CPU) == rest, (
        "a run that was begun cannot be changed any more"
    )


STEPS = replace(SHORT, batch=24, epochs=3)  # 11 steps an epoch


def test_a_run_tells_its_outlook_once_and_resumed_that_of_the_rest(tmp_path: Path) -> None:
    source, said = few_digits(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ZeroDivisionError):
        before_step(patch, 17, lambda: 1 // 0)
        loop.train(source, STEPS, tmp_path / "run", CPU, Console(file=said, width=200))
    assert len(re.findall(r"^about \d+ (s|min) \(33 steps\), \d+\.\d GB$", said.getvalue(), re.M)) == 1
    said = io.StringIO()
    loop.train(source, STEPS, tmp_path / "run", CPU, Console(file=said, width=200), resume=True)
    step = int(re.search(r"resumed at step (\d+)", said.getvalue())[1])  # type: ignore[index]
    assert step < 17
    assert len(re.findall(rf"^about \d+ (s|min) \({33 - step} of 33 steps left\), ", said.getvalue(), re.M)) == 1


def test_a_run_times_its_steps_and_validations(tmp_path: Path) -> None:
    seen: list[ProgressTimer] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "Hooks", lambda *given: seen.append(given[4]) or hooks.Hooks(*given))
        loop.train(few_digits(), STEPS, tmp_path / "run", CPU, Console(quiet=True))
    (timer,) = seen
    assert sum(steps for _, _, steps in timer.timed) == 33 - 1
    assert timer.validation is not None
    assert timer.left(3) == 0


def test_the_peak_of_memory_stays_when_memory_is_given_back() -> None:
    content = bytearray(1 << 28)
    content[::4096] = b"x" * (1 << 16)
    high = peak_memory(CPU)
    assert high >= memory_used(CPU) - (1 << 24)
    del content
    assert peak_memory(CPU) >= high
    assert high > 1 << 28
