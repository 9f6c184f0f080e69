"""The end of an epoch: the network judged on val, the epoch's record written, and the best of all kept."""

import torch

from skipway.training.account import describe, write_records
from skipway.training.attending import Attendants, best_of, end, keep, rate_of, speed_of, status_of
from skipway.training.state import Run, State, Sums
from skipway.training.step import look
from skipway.training.watching import memory_held


def close_epoch(run: Run, state: State, around: Attendants) -> None:
    """The epoch's record: judged on val, written, said; and a checkpoint when val is better than ever."""
    look(run, state)
    sums = state.sums
    mean = sums.loss / sums.steps
    record = {"epoch": len(state.records) + 1, "step": state.step, "rate": rate_of(run, state.step), "train_loss": mean}
    if sums.tally is not None:
        figures = run.prepared.task.read(run.group.summed(sums.tally))
        record |= {f"train_{k}": v for k, v in figures.items()}
    record |= speed_of(run, state) | {"memory_gib": round(memory_held(run.hardware) / 2**30, 2)}
    record |= {f"val_{k}": v for k, v in validate(run, state, around).items()}
    record["seconds"] = round(state.seconds(), 2)
    state.records.append(record)
    state.sums = Sums()
    around.log(state.step, record)
    if run.group.rank == 0:
        write_records(run.out, state.records, run.console)
    run.console.print(describe(record), soft_wrap=True)
    if best_of(run, state.records) == (record["epoch"], record["step"]):
        keep(run, state, around.keeper)


@torch.inference_mode()
def validate(run: Run, state: State, around: Attendants) -> dict[str, float]:
    """The task's figures on val in the run's own precision, every image counted once; nothing where there is no val.

    Each process judges its share of the batches, by the first one's running statistics.
    """
    validation, group, net = run.prepared.validation, run.group, state.judged()
    if validation is None:
        return {}
    around.pace.begin_validation(in_parts=group.world == 1)
    net.eval()
    group.spread(net.buffers())
    scores = torch.zeros(len(validation.split), run.prepared.task.outputs)
    places = range(group.rank * validation.batch, len(scores), group.world * validation.batch)
    for place, images in zip(places, validation.batches(slice(group.rank, None, group.world)), strict=True):
        if group.world == 1 and around.stopping():
            end(run, state, around)
        images = run.prepared.preprocessing.normalised(images.to(run.hardware.device))
        with run.hardware.autocast():
            scores[place : place + len(images)] = net(run.hardware.place_images(images)).float().cpu()
        around.pace.judged_batch()
        around.advance(status_of(run, state, around.pace, (place + len(images), len(scores))))
    figures = run.prepared.task.meter(group.summed(scores), validation.targets())
    around.pace.end_validation()
    return figures
