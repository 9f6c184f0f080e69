"""Whether the source can be released: `make release-check`, and with TAG=v1.2.3 before that tag is published.

Builds the distributions into dist/, and checks what is in them, their metadata, that version, changelog and citation
agree, that links between files lead somewhere, and the forms and workflows by their schemas. Prints a line for each
check, and exits with code 1 if one fails.
"""

import argparse
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "skipway"
SCHEMAS = {  # of check-jsonschema, which holds a copy of each
    "citation-file-format": ("CITATION.cff",),
    "github-workflows": (".github/workflows/*.yml",),
    "github-issue-forms": (".github/ISSUE_TEMPLATE/bug.yml", ".github/ISSUE_TEMPLATE/feature.yml"),
    "github-issue-config": (".github/ISSUE_TEMPLATE/config.yml",),
    "dependabot": (".github/dependabot.yml",),
}
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
UNRELEASED = "Unreleased"
COMPILED = re.compile(r"skipway/kernels/\w+(\.\w+)?\.(so|pyd|dylib)")  # what is built of the package's C++
LARGEST = 20_000_000  # bytes of a distribution: indices take 100 MB, and people on trains less


def version_of(root: Path) -> str:
    """The version, which pyproject.toml alone decides: the package reads it from its metadata."""
    return str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])


def version_faults(root: Path, tag: str) -> list[str]:
    """Where other files name another version. tag: of the release, as v1.2.3; empty for none."""
    version, faults = version_of(root), []
    cited = re.search(r"^version: (\S+)$", (root / "CITATION.cff").read_text(), re.MULTILINE)
    if not cited or cited[1] != version:
        faults.append(f"CITATION.cff names version {cited and cited[1]}, pyproject.toml {version}")
    if (runtime := version_of(root / "runtime")) != version:
        faults.append(f"runtime/pyproject.toml names version {runtime}, pyproject.toml {version}")
    headings = re.findall(r"^## (\S+)", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    if not headings or headings[0] not in (UNRELEASED, version):
        faults.append(f"CHANGELOG.md begins with {headings[:1]}: it must be {UNRELEASED} or {version}")
    if tag and tag != f"v{version}":
        faults.append(f"the tag is {tag}, and the version {version}")
    if tag and headings[:1] != [version]:
        faults.append(f"CHANGELOG.md begins with {headings[:1]}: name it {version} for the release")
    return faults


def expected_files() -> set[str]:
    """What the wheel must hold of the package: every file of the source that is tracked or new, by its path there."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "src/skipway"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name.removeprefix("src/") for name in listed if (ROOT / name).is_file()}


def wheel_faults(wheel: Path, expected: Iterable[str]) -> list[str]:
    """What is missing in a wheel or does not belong into it."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        info = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(info).decode())
    place = info.removesuffix("METADATA")
    faults = [f"{wheel.name} lacks {name}" for name in sorted(set(expected) - names)]
    faults += [
        f"{wheel.name} lacks {name}" for name in ("skipway/py.typed", f"{place}licenses/LICENSE") if name not in names
    ]
    others = {name for name in names - set(expected) if not COMPILED.fullmatch(name)}
    strange = sorted(name for name in others if not name.startswith(place))
    faults += [f"{wheel.name} holds {name}, which is not of the package" for name in strange]
    if metadata["License-Expression"] != "Apache-2.0":
        faults.append(f"{wheel.name} has no licence expression")
    if wheel.stat().st_size > LARGEST:
        faults.append(f"{wheel.name} has {wheel.stat().st_size:,} bytes")
    return faults


def sdist_faults(sdist: Path, expected: Iterable[str]) -> list[str]:
    """What a source distribution lacks to build the same wheel, and what does not belong into it."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {f"src/{name}" for name in expected} | {"pyproject.toml", "README.md", "LICENSE"}
    faults = [f"{sdist.name} lacks {name}" for name in sorted(needed - names)]
    faults += [f"{sdist.name} holds {name}" for name in sorted(names) if name.startswith(("tests/", ".", "results/"))]
    return faults


def link_faults(root: Path, pages: Iterable[str] = PAGES) -> list[str]:
    """Links of pages to files that there are not."""
    faults = []
    for page in pages:
        text = re.sub(r"```.*?```", "", (root / page).read_text(), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            place = link.partition("#")[0]
            if place and "://" not in place and not (root / page).parent.joinpath(place).exists():
                faults.append(f"{page}: {link} leads nowhere")
    return faults


def schema_faults(root: Path) -> list[str]:
    """Files that a host would refuse."""
    faults = []
    for schema, patterns in SCHEMAS.items():
        files = [str(file) for pattern in patterns for file in sorted(root.glob(pattern))]
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            faults.append(f"{', '.join(files)}: {' '.join((done.stdout + done.stderr).split())}")
    return faults


def build(out: Path) -> tuple[Path, Path]:
    """The wheel and the source distribution, made of the files as they are now; others in `out` are removed."""
    for old in out.glob("skipway*-*"):
        old.unlink()
    command = [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def metadata_faults(files: Iterable[Path]) -> list[str]:
    """What an index would refuse, by twine."""
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [" ".join((done.stdout + done.stderr).split())] if done.returncode else []


def main() -> int:
    parser = argparse.ArgumentParser(description="Check whether the source can be released.")
    parser.add_argument("--tag", default="", help="of the release, as v1.2.3")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the distributions")
    given = parser.parse_args()
    wheel, sdist = build(given.out)
    expected = expected_files()
    checks = {
        "version": version_faults(ROOT, given.tag),
        f"{wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB": wheel_faults(wheel, expected),
        f"{sdist.name}, {sdist.stat().st_size / 1e6:.1f} MB": sdist_faults(sdist, expected),
        "metadata (twine)": metadata_faults([wheel, sdist]),
        "links": link_faults(ROOT),
        "citation, workflows and forms": schema_faults(ROOT),
    }
    for name, faults in checks.items():
        print(f"{name}: {'; '.join(faults) if faults else 'ok'}")
    return int(any(checks.values()))


if __name__ == "__main__":
    sys.exit(main())
