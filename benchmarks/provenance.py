"""Which code a result in results/ measured, and whether it has changed since."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skipway.study.engine.code_hash import SOURCE, syntax

TRAINING = (
    *("training/loop.py", "training/step.py", "training/optimiser.py", "training/muon.py", "training/recipes.py"),
    *("training/dataloaders.py", "data/augment.py", "data/loader.py", "data/preprocess.py", "data/decode.py"),
)
NETWORKS = ("models/base.py", "models/resnet.py")
PREDICTION = ("deploy/predict", "deploy/engines", "data/decode.py", "data/preprocess.py")
# result: the files and folders below src/skipway that determine it
CODE: dict[str, tuple[str, ...]] = {
    "against_torchvision": ("models/base.py", "models/resnet.py", "models/densenet.py", "models/vgg.py"),
    "chaos": ("training", "bundle", "deploy/serve", "cli/serve.py"),
    "check": ("data/quality", "data/decode.py"),
    "checkpointing": ("training/checkpoint_manager.py", "training/state_codec.py", "training/step.py"),
    "cifar10": (*TRAINING, *NETWORKS),
    "cifar_loop": (*TRAINING, *NETWORKS),
    "time_to_accuracy": (*TRAINING, *NETWORKS, "kernels", "training/fused_units.py"),
    "depth": ("models/activation_checkpointing.py", "models/preresnet.py"),
    "detection": (*TRAINING, "models/detection", "tasks/detect"),
    "detection_predict": (*PREDICTION, "models/detection", "tasks/detect"),
    "detection_speed": (*TRAINING, "models/detection", "tasks/detect"),
    "distillation": (*TRAINING, *NETWORKS, "training/distillation.py"),
    "digits": (*TRAINING, *NETWORKS),
    "embed": (*PREDICTION, "embedding"),
    "first_day": (*TRAINING, "training/autoconfig.py", "models/resnetd.py"),
    "fuzz": ("data/image_headers.py", "deploy/serve/multipart.py", "bundle/card.py", "download.py"),
    "fused_units": ("kernels", "training/fused_units.py", *NETWORKS),
    "fuzz_bytes": ("data/image_headers.py", "deploy/serve/multipart.py", "bundle/card.py"),
    "generation": (*TRAINING, "models/generation", "tasks/generate"),
    "generation_speed": (*TRAINING, "models/generation", "tasks/generate", "deploy/generate"),
    "gpu": (*TRAINING, *NETWORKS, "training/cuda_graphs.py", "deploy/engines"),
    "int8": ("deploy/engines", "deploy/export", *NETWORKS),
    "killed": ("training/checkpoint_manager.py", "training/state_codec.py", "training/train_state.py"),
    "killed_at_random": (
        *("training/checkpoint_manager.py", "training/train_state.py", "bundle", "download.py", "new_files.py"),
        *("deploy/export/export.py", "deploy/predict/writer.py", "deploy/serve/server.py"),
    ),
    "large_photographs": ("training/dataloaders.py", "data/decode.py", "data/preprocess.py", "data/loader.py"),
    "latency": PREDICTION,
    "mutants": (),  # of the tests as they were at its commit
    "overfit_masks": (*TRAINING, "models/detection", "tasks/detect"),
    "predict": PREDICTION,
    "profile_step": (*TRAINING, *NETWORKS),
    "protocols": ("evaluation", *NETWORKS),
    "segmentation": (*TRAINING, "models/segmentation", "tasks/segment"),
    "segmentation_seams": ("deploy/predict", "models/segmentation", "tasks/segment"),
    "segmentation_speed": (*TRAINING, *PREDICTION, "models/segmentation", "tasks/segment"),
    "serve": ("deploy/serve", *PREDICTION),
    "serve_soak": ("deploy/serve", "cli/serve.py"),
    "runtime": ("runtime", "deploy/serve", "deploy/export/sessions.py", "data/decode.py", "data/fitting.py", "tasks"),
    "startup": (
        "__init__.py",
        "__main__.py",
        "cli",
        "commands/predict.py",
        "data/preprocess.py",
        "data/resize.py",
        "hardware.py",
    ),
    "serve_attacks": ("deploy/serve", "data/image_headers.py", "cli/serve.py"),
    "train_step": (*TRAINING, *NETWORKS),
    "transfer": (*TRAINING, "training/autoconfig.py", "models/resnetd.py"),
}


def hashes(name: str) -> dict[str, str]:
    """The hash of the code at each path of CODE, without comments, docstrings and layout."""
    return {path: digest(SOURCE / path) for path in CODE[name]}


def digest(path: Path) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a file's syntax, or of all files' below a folder."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return hashlib.sha256("\0".join(map(syntax, files)).encode()).hexdigest()[:16]


def outdated(name: str, result: Mapping[str, Any]) -> str:
    """Why the result called `name` does not describe the present code; empty if it does. A result of several sets has a
    commit and hashes for each."""
    if "sets" in result and all("commit" in part for part in result["sets"].values()):
        reasons = {key: outdated(name, part) for key, part in result["sets"].items()}
        return "; ".join(f"{key}: {reason}" for key, reason in reasons.items() if reason)
    if str(result["commit"]).endswith("-dirty"):
        return "measured with uncommitted changes"
    if "code" not in result:
        return "measured before results recorded which code they measured"
    now = hashes(name)
    changed = [path for path in now if result["code"].get(path) != now[path]]
    return f"changed since: {', '.join(changed)}" if changed else ""
