"""How long a run still takes, told by a clock that the test turns."""

from dataclasses import replace

import pytest

from skipway.training.recipes import QUICK, Recipe
from skipway.training.time_estimate import FORWARD
from skipway.training.time_left import RECENT, Plan, ProgressTimer, plan_of

FIXED = replace(QUICK, batch=10, small=0, small_epochs=0, freeze=0)


class Clock:
    """A clock that stands until it is turned."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Timed:
    """A run whose every step and batch takes as long as it is told."""

    def __init__(self, plan: Plan, step: int = 0) -> None:
        self.clock = Clock()
        self.timer = ProgressTimer(plan, step, self.clock)
        self.step = step

    def steps(self, count: int, seconds: float) -> None:
        for _ in range(count):
            self.clock.now += seconds
            self.step += 1
            self.timer.step_done(self.step)

    def validation(self, batches: int, seconds: float) -> None:
        self.timer.begin_validation(in_parts=True)
        for _ in range(batches):
            self.clock.now += seconds
            self.timer.validated_batch()
        self.timer.end_validation()
        self.timer.begin_epoch()


def plan(recipe: Recipe = FIXED, total: int = 400, steps: int = 100, judged: int = 0) -> Plan:
    return plan_of(recipe, 100, total, steps, judged)


def test_nothing_is_told_before_a_step_was_timed_and_the_first_of_a_process_does_not_count() -> None:
    run = Timed(plan())
    run.steps(1, 60.0)
    assert run.timer.left(0) is None
    run.steps(1, 2.0)
    assert run.timer.left(0) == pytest.approx(398 * 2.0)


def test_what_is_left_follows_the_recent_steps_and_not_the_mean_since_the_start() -> None:
    run = Timed(plan())
    run.steps(100, 0.5)
    run.steps(RECENT, 3.0)
    assert run.timer.left(1) == pytest.approx((400 - 100 - RECENT) * 3.0)


def test_steps_of_small_crops_foretell_those_of_whole_ones() -> None:
    run = Timed(plan(replace(FIXED, small=50, small_epochs=1)))
    run.steps(20, 0.25)
    assert run.timer.left(0) == pytest.approx(80 * 0.25 + 300 * 1.0), "half the side is a quarter of the pixels"


def test_steps_of_the_classifier_alone_foretell_those_of_all_layers() -> None:
    run = Timed(plan(replace(FIXED, freeze=2)))
    run.steps(20, FORWARD)
    assert run.timer.left(0) == pytest.approx(180 * FORWARD + 200 * 1.0)
    run = Timed(plan(replace(FIXED, only_head=True)))
    run.steps(20, 0.5)
    assert run.timer.left(0) == pytest.approx(380 * 0.5)


def test_validations_are_guessed_from_steps_until_one_was_measured() -> None:
    run = Timed(plan(judged=1000))
    run.steps(100, 1.0)
    assert run.timer.left(0) == pytest.approx(300 * 1.0 + 4 * FORWARD * 100)
    run.validation(batches=5, seconds=2.0)
    assert run.timer.left(1) == pytest.approx(300 * 1.0 + 3 * 10.0)
    run.steps(1, 1.0)
    assert run.timer.left(1) == pytest.approx(299 * 1.0 + 3 * 10.0), "a validation is not part of the step after it"


def test_an_epoch_that_is_cut_short_counts_its_own_steps_alone() -> None:
    run = Timed(plan(replace(FIXED, small=50, small_epochs=1), total=130))
    run.steps(120, 1.0)
    assert run.timer.plan.epochs == 2
    assert run.timer.plan.cost_from(120) == 10


def test_a_resumed_run_tells_the_rest() -> None:
    run = Timed(plan(), step=350)
    run.steps(11, 1.0)
    assert run.timer.left(3) == pytest.approx(39.0)


@pytest.mark.parametrize(("seconds", "step"), [(0.1, 11), (1.0, 6), (30.0, 2)])
def test_the_whole_is_told_once_after_ten_timed_steps_or_five_seconds(seconds: float, step: int) -> None:
    run, told = Timed(plan()), []
    for _ in range(40):
        run.steps(1, seconds)
        if run.timer.first_estimate_due():
            told.append(run.step)
    assert told == [step]


def test_steps_that_a_gpu_reports_by_the_dozen_are_steps_of_their_own() -> None:
    run = Timed(plan())
    for step in (32, 64, 96):
        run.clock.now += 16.0
        run.timer.step_done(step)
    assert run.timer.left(0) == pytest.approx(304 * 0.5)
    assert run.timer.current_work() == "the step, at most 1 s"


def test_who_stops_a_run_is_told_how_long_the_step_takes_at_most() -> None:
    run = Timed(plan())
    assert run.timer.current_work() == "the step"
    run.steps(5, 20.0)
    run.steps(5, 10.0)
    run.clock.now += 3.5
    assert run.timer.current_work() == "the step, at most 17 s"
    run.clock.now += 60.0
    assert run.timer.current_work() == "the step, at most 1 s"


def test_during_a_validation_a_batch_of_it_is_what_is_waited_for() -> None:
    run = Timed(plan(judged=1000))
    run.steps(5, 20.0)
    run.timer.begin_validation(in_parts=True)
    assert run.timer.current_work() == "a batch of validation images"
    run.clock.now += 6.0
    run.timer.validated_batch()
    run.clock.now += 1.0
    assert run.timer.current_work() == "a batch of validation images, at most 5 s"
    run.timer.end_validation()
    run.timer.begin_epoch()
    assert run.timer.current_work() == "the step, at most 20 s"


def test_processes_that_judge_together_answer_after_the_whole_validation() -> None:
    run = Timed(plan(judged=1000))
    run.timer.begin_validation(in_parts=False)
    assert run.timer.current_work() == "the validation"
    run.clock.now += 50.0
    run.timer.end_validation()
    run.timer.begin_validation(in_parts=False)
    run.clock.now += 20.0
    assert run.timer.current_work() == "the validation, at most 30 s"


def test_crops_that_are_whole_from_now_on_make_a_step_longer() -> None:
    run = Timed(plan(replace(FIXED, small=50, small_epochs=1)))
    run.steps(100, 1.0)
    assert run.timer.current_work() == "the step, at most 4 s"
