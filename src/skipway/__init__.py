"""skipway: residual networks, whole.

    import skipway
    run = skipway.train("photos", epochs=5)      # a folder: bundle, metrics, report
    print(run.metrics["top1"], run.report)
    predictor = run.predictor()
    print(predictor.predict("new.jpg").label)

Each name is imported when first used, so that `import skipway` costs nothing.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skipway.commands.average import average
    from skipway.commands.benchmark import benchmark
    from skipway.commands.check import check
    from skipway.commands.compare import compare
    from skipway.commands.cross_validate import cross_validate
    from skipway.commands.evaluate import compare_runs, evaluate
    from skipway.commands.explain import explain
    from skipway.commands.export import export
    from skipway.commands.find_lr import find_lr
    from skipway.commands.generate import generate
    from skipway.commands.predict import predict
    from skipway.commands.probe import probe
    from skipway.commands.push import push
    from skipway.commands.review import review
    from skipway.commands.run import Run, load
    from skipway.commands.runs import runs
    from skipway.commands.search import search
    from skipway.commands.select import select
    from skipway.commands.train import resume, train
    from skipway.commands.tune import tune
    from skipway.data import open_dataset
    from skipway.deploy.generate.generator import Generator
    from skipway.deploy.generate.request import GeneratedImage, GenerationRequest
    from skipway.deploy.predict.predictor import Predictor
    from skipway.errors import SkipwayError
    from skipway.estimator import ImageClassifier
    from skipway.hardware import decide
    from skipway.models import build, list_models
    from skipway.tasks.base import Prediction
    from skipway.tasks.generate.sampler import SamplingOptions
    from skipway.training.recipes import Recipe, find_recipe

WHERE = {
    "GeneratedImage": "skipway.deploy.generate.request",
    "GenerationRequest": "skipway.deploy.generate.request",
    "Generator": "skipway.deploy.generate.generator",
    "ImageClassifier": "skipway.estimator",
    "Prediction": "skipway.tasks.base",
    "Predictor": "skipway.deploy.predict.predictor",
    "Recipe": "skipway.training.recipes",
    "Run": "skipway.commands.run",
    "SamplingOptions": "skipway.tasks.generate.sampler",
    "SkipwayError": "skipway.errors",
    "average": "skipway.commands.average",
    "benchmark": "skipway.commands.benchmark",
    "build": "skipway.models",
    "check": "skipway.commands.check",
    "compare": "skipway.commands.compare",
    "compare_runs": "skipway.commands.evaluate",
    "cross_validate": "skipway.commands.cross_validate",
    "decide": "skipway.hardware",
    "evaluate": "skipway.commands.evaluate",
    "explain": "skipway.commands.explain",
    "export": "skipway.commands.export",
    "find_lr": "skipway.commands.find_lr",
    "find_recipe": "skipway.training.recipes",
    "generate": "skipway.commands.generate",
    "list_models": "skipway.models",
    "load": "skipway.commands.run",
    "open_dataset": "skipway.data",
    "predict": "skipway.commands.predict",
    "probe": "skipway.commands.probe",
    "push": "skipway.commands.push",
    "resume": "skipway.commands.train",
    "review": "skipway.commands.review",
    "runs": "skipway.commands.runs",
    "search": "skipway.commands.search",
    "select": "skipway.commands.select",
    "train": "skipway.commands.train",
    "tune": "skipway.commands.tune",
}

__all__ = [
    "GeneratedImage",
    "GenerationRequest",
    "Generator",
    "ImageClassifier",
    "Prediction",
    "Predictor",
    "Recipe",
    "Run",
    "SamplingOptions",
    "SkipwayError",
    "average",
    "benchmark",
    "build",
    "check",
    "compare",
    "compare_runs",
    "cross_validate",
    "decide",
    "evaluate",
    "explain",
    "export",
    "find_lr",
    "find_recipe",
    "generate",
    "list_models",
    "load",
    "open_dataset",
    "predict",
    "probe",
    "push",
    "resume",
    "review",
    "runs",
    "search",
    "select",
    "train",
    "tune",
]

if "IPython" in sys.modules:
    from skipway.reporting.notebook import register

    register()


def installed_version() -> str:
    """Of skipway, or of skipway-runtime where that alone is installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("skipway")
    except PackageNotFoundError:
        return version("skipway-runtime")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return installed_version()
    if name not in WHERE:
        raise AttributeError(f"module 'skipway' has no attribute '{name}'")
    return getattr(import_module(WHERE[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
