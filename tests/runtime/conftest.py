"""One small network, exported once, and photographs."""

from pathlib import Path

import pytest
from served import write_bundle

from skipway.deploy.export.export import ExportRequest, export


@pytest.fixture(scope="session")
def photographs(photo_folder: Path) -> list[Path]:
    return sorted(photo_folder.rglob("*.jpg"))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("runtime") / "fruit")


@pytest.fixture(scope="session")
def onnx(run: Path, photographs: list[Path]) -> Path:
    """The run in ONNX. Read it, do not change it."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    return export(run, ExportRequest("onnx", images=photographs)).folder


@pytest.fixture(scope="session")
def openvino(run: Path, photographs: list[Path]) -> Path:
    pytest.importorskip("openvino")
    return export(run, ExportRequest("openvino", images=photographs)).folder
