"""What is published: the distributions, installed elsewhere, and the checks before a release."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from release import check

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source without what tools leave in it."""
    folder = tmp_path_factory.mktemp("source")
    shutil.copytree(
        ROOT / "src" / "skipway", folder / "src" / "skipway", ignore=shutil.ignore_patterns("__pycache__", "*.so")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path) -> Iterator[Path]:
    """The wheel, by the backend of this environment: `make release-check` builds it in one of its own."""
    pytest.importorskip("build")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(source / "dist"),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "Missing dependencies" in done.stdout + done.stderr:
        pytest.skip("setuptools is not installed here")
    assert done.returncode == 0, done.stdout + done.stderr
    return next((source / "dist").glob("*.whl"))


def files_of(source: Path) -> set[str]:
    return {
        file.relative_to(source / "src").as_posix()
        for file in (source / "src" / "skipway").rglob("*")
        if file.is_file()
    }


def test_the_wheel_holds_the_whole_package_its_licence_and_nothing_else(wheel: Path, source: Path) -> None:
    assert check.wheel_faults(wheel, files_of(source)) == []


def test_a_wheel_without_a_file_or_with_a_strange_one_is_found(wheel: Path, source: Path, tmp_path: Path) -> None:
    poor = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(poor, "w") as made:
        for name in whole.namelist():
            if name != "skipway/py.typed":
                made.writestr(name, whole.read(name))
        made.writestr("tests/test_x.py", "")
    found = "\n".join(check.wheel_faults(poor, files_of(source)))
    assert "lacks skipway/py.typed" in found
    assert "holds tests/test_x.py, which is not of the package" in found


def test_the_wheel_works_where_it_is_unpacked_and_knows_its_version(wheel: Path, tmp_path: Path) -> None:
    """With the dependencies of this environment, but the package from the wheel alone."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = "import skipway; print(skipway.__file__, skipway.__version__); from skipway import cli; cli.main()"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "SKIPWAY_OFFLINE": "1"}
    command = [sys.executable, "-c", code, "predict", "RUN", str(ROOT / "docs" / "digit.png")]
    done = subprocess.run(
        [*command[:3], "weights", "verify", "embedded"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    file, version = done.stdout.splitlines()[0].rsplit(" ", 1)
    assert Path(file).is_relative_to(tmp_path / "site")
    assert version == check.version_of(ROOT)


def test_version_changelog_and_citation_agree() -> None:
    assert check.version_faults(ROOT, "") == []


def test_a_release_under_another_version_or_without_a_changelog_is_found(tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir()
    for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md", "runtime/pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    version = check.version_of(ROOT)
    assert any("the tag is v9.9.9" in fault for fault in check.version_faults(tmp_path, "v9.9.9"))
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {version}\n")
    assert check.version_faults(tmp_path, f"v{version}") == []
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n")
    assert any(f"name it {version} for the release" in fault for fault in check.version_faults(tmp_path, f"v{version}"))
    (tmp_path / "CITATION.cff").write_text("version: 8.8.8\n")
    assert any("CITATION.cff names version 8.8.8" in fault for fault in check.version_faults(tmp_path, ""))


def test_links_between_files_lead_somewhere(tmp_path: Path) -> None:
    assert check.link_faults(ROOT) == []
    (tmp_path / "a.md").write_text("[x](b.md) [y](https://example.org) [z](a.md#there)")
    assert check.link_faults(tmp_path, ["a.md"]) == ["a.md: b.md leads nowhere"]


def test_citation_workflows_and_forms_are_what_a_host_takes(tmp_path: Path) -> None:
    pytest.importorskip("check_jsonschema")
    assert check.schema_faults(ROOT) == []
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    text = (ROOT / "CITATION.cff").read_text()
    (tmp_path / "CITATION.cff").write_text(text.replace("authors:", "autors:"))
    assert any("CITATION.cff" in fault for fault in check.schema_faults(tmp_path))
