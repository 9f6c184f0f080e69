"""Where a training step's time goes: resnet20 at batch 256, by kind of operation. results/profile_step.json

python -m benchmarks.profile_step
"""

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.harness import save
from benchmarks.train_step import steps
from skipway import hardware, models

BATCH, STEPS = 256, 10
KINDS = {
    "convolution, backward": ("convolution_backward",),
    "convolution, forward": ("mkldnn_convolution",),
    "batch norm, backward": ("native_batch_norm_backward",),
    "batch norm, forward": ("native_batch_norm",),
    "ReLU, backward": ("threshold_backward",),
    "ReLU, forward": ("clamp_min_", "clamp_min", "relu_"),
    "addition, of units and of gradients": ("add", "add_"),
    "batch norm, addition and ReLU in one": ("BatchNormReLU", "BatchNormReLUBackward"),
}


def main() -> None:
    settings = hardware.decide()
    hardware.keep_freed_memory()
    step = steps(models.build("resnet20"), settings, 32, BATCH)
    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        for _ in range(STEPS):
            step()
    spent = {event.key.removeprefix("aten::"): event.self_cpu_time_total for event in recorded.key_averages()}
    total = sum(spent.values())
    shares = {kind: sum(spent.pop(name, 0.0) for name in names) / total for kind, names in KINDS.items()}
    largest = sorted(spent.items(), key=lambda item: -item[1])[:6]
    save(
        "profile_step",
        {
            "what": f"share of a step's time by kind of operation, resnet20, batch {BATCH}, mean of {STEPS} steps",
            "milliseconds_a_step": round(total / STEPS / 1000, 2),
            "shares": {kind: round(share, 4) for kind, share in shares.items()},
            "everything else": round(sum(spent.values()) / total, 4),
            "largest of everything else": {name: round(value / total, 4) for name, value in largest},
            "threads": torch.get_num_threads(),
        },
    )


if __name__ == "__main__":
    main()
