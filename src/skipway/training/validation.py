"""Validation, the record and a checkpoint at the end of an epoch."""

import io

import torch

from skipway.bundle import PREVIEWS, write_atomically
from skipway.training.hooks import Hooks, best_epoch, current_lr, save_and_stop, save_checkpoint, status_of, throughput
from skipway.training.progress import memory_used
from skipway.training.run_log import describe, write_records
from skipway.training.step import drain_losses
from skipway.training.train_state import EpochMeters, TrainRun, TrainState


def end_epoch(run: TrainRun, state: TrainState, hooks: Hooks) -> None:
    """Validate where it is due, write and print the epoch's record, and a checkpoint when val is the best so far."""
    drain_losses(run, state)
    sums = state.sums
    mean = sums.loss / sums.steps
    epoch = len(state.records) + 1
    record = {
        "epoch": epoch,
        "step": state.step,
        "rate": current_lr(run, state.step),
        "train_loss": mean,
    }
    if sums.tally is not None:
        figures = run.setup.task.train_metrics(run.group.all_reduce(sums.tally))
        record |= {f"train_{k}": v for k, v in figures.items()}
    record |= throughput(run, state) | {"memory_gib": round(memory_used(run.hardware) / 2**30, 2)}
    if hooks.timer.plan.validated(epoch):
        record |= {f"val_{k}": v for k, v in validate(run, state, hooks).items()}
        write_preview(run, state)
    record["seconds"] = round(state.seconds(), 2)
    state.records.append(record)
    state.sums = EpochMeters()
    hooks.log(state.step, record)
    if run.group.rank == 0:
        write_records(run.out, state.records, run.console)
    task = run.setup.task
    run.console.print(describe(record, task.figure_names, task.plain_figure_names), soft_wrap=True)
    if best_epoch(run, state.records) == (record["epoch"], record["step"]):
        save_checkpoint(run, state, hooks.manager)


def write_preview(run: TrainRun, state: TrainState) -> None:
    """Write the task's picture of the current network into the run's folder `previews`, if it has one."""
    if run.group.rank:
        return
    with run.hardware.autocast():
        picture = run.setup.task.preview(state.eval_model(), run.setup.preprocessing, run.hardware.device)
    if picture is not None:
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        (run.out / PREVIEWS).mkdir(exist_ok=True)
        write_atomically(run.out / PREVIEWS / f"step-{state.step:07d}.png", stream.getvalue())


@torch.inference_mode()
def validate(run: TrainRun, state: TrainState, hooks: Hooks) -> dict[str, float]:
    """The task's metrics on val in the run's precision, every image counted once; empty where there is no val.

    Each process evaluates its share of the batches, with the running statistics of the first one.
    """
    validation, group, net = run.setup.validation, run.group, state.eval_model()
    if validation is None:
        return {}
    hooks.timer.begin_validation(in_parts=group.world == 1)
    net.eval()
    group.broadcast_tensors(net.buffers())
    metrics, count = run.setup.task.metrics(), len(validation.split)
    starts = range(group.rank * validation.batch, count, group.world * validation.batch)
    for start, images in zip(starts, validation.batches(slice(group.rank, None, group.world)), strict=True):
        if group.world == 1 and hooks.stopping():
            save_and_stop(run, state, hooks)
        images = run.setup.preprocessing.normalised(images.to(run.hardware.device))
        done = start + len(images)
        targets = validation.targets(start, done)
        with run.hardware.autocast():
            outputs = run.setup.task.forward(net, run.hardware.place_images(images), targets, start)
        metrics.update(tuple(output.float().cpu() for output in outputs), targets)
        hooks.timer.validated_batch()
        hooks.advance(status_of(run, state, hooks.timer, (done, count)))
    own, *others = group.gather(metrics)
    own.merge(others)
    hooks.timer.end_validation()
    return own.compute()
