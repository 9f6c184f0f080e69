"""The files for SLURM, Kubernetes and SkyPilot in docs/cluster, compared with schemas and our own commands."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from skipway.cli import app
from skipway.deploy.serve.app import health

CLUSTER = Path(__file__).parent.parent / "docs" / "cluster"
MANIFESTS = sorted(CLUSTER.glob("[!.]*.yaml"))
KUBERNETES = [file for file in MANIFESTS if not file.name.endswith(".sky.yaml")]


def documents(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text()))


def containers(file: Path) -> list[dict[str, Any]]:
    return [
        container
        for document in documents(file)
        if document["kind"] in ("Deployment", "Job")
        for container in document["spec"]["template"]["spec"]["containers"]
    ]


@pytest.mark.parametrize("file", KUBERNETES, ids=lambda file: file.name)
def test_manifests_follow_the_schemas_of_kubernetes(file: Path) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for document in documents(file):
        kubernetes_validate.validate(document, "1.37", strict=True)
        broken = {**document, "spec": {**document["spec"], "selektor": {}}}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(broken, "1.37", strict=True)


@pytest.mark.parametrize("file", [*MANIFESTS, CLUSTER / "train.sbatch"], ids=lambda file: file.name)
def test_every_option_of_ours_exists(file: Path) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    text = re.sub(r"#.*", "", file.read_text())
    found = re.findall(r"skipway[\s,]+(train|serve)\b(.*?)(?:\n\s*\w+:|\Z)", text, re.DOTALL)
    assert found
    for name, rest in found:
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z][a-z-]*", rest)) <= known
    assert "--resume" in {option for parameter in commands["train"].params for option in parameter.opts}


@pytest.mark.parametrize("file", [file for file in KUBERNETES if file.name == "serve.yaml"], ids=lambda file: file.name)
def test_probes_ask_paths_that_the_server_answers(file: Path) -> None:
    (container,) = containers(file)
    asked = {container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "readiness", "liveness")}
    answered = {route.path for route in health(None).routes}  # type: ignore[arg-type, attr-defined]
    assert asked == answered == {"/healthz", "/readyz"}
    grace = int(container["args"][container["args"].index("--grace") + 1])
    (pod,) = (d["spec"]["template"]["spec"] for d in documents(file) if d["kind"] == "Deployment")
    wait = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod["terminationGracePeriodSeconds"] > grace + wait


def shell_parts() -> dict[str, str]:
    """The shell scripts in the files, by name."""
    job = containers(CLUSTER / "train.yaml")[0]["command"][-1]
    (sky,) = documents(CLUSTER / "train.sky.yaml")
    return {"slurm": (CLUSTER / "train.sbatch").read_text(), "job": job, "sky": sky["run"]}


@pytest.mark.parametrize("name", ["slurm", "job", "sky"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_run_that_was_begun_is_resumed(name: str, begun: bool, tmp_path: Path) -> None:
    """The scripts run with programs of these names that print their arguments."""
    run, programs = tmp_path / "run of mine", tmp_path / "bin"
    programs.mkdir()
    for program in ("torchrun", "srun", "scontrol"):
        (programs / program).write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
        (programs / program).chmod(0o755)
    run.mkdir()
    if begun:
        (run / "run.json").touch()
    variables = {"DATA": "my data", "RUN": str(run), "PATH": f"{programs}:/usr/bin:/bin", "SLURM_NNODES": "1"}
    variables |= {"SLURM_JOB_NODELIST": "a", "SLURM_JOB_ID": "7", "SKYPILOT_NUM_NODES": "1"}
    variables |= {"SKYPILOT_NUM_GPUS_PER_NODE": "1", "SKYPILOT_NODE_RANK": "0", "SKYPILOT_NODE_IPS": "a\nb"}
    shell = "bash" if name == "slurm" else "sh"
    done = subprocess.run([shell, "-c", shell_parts()[name]], env=variables, capture_output=True, text=True, check=True)
    arguments = done.stdout.split("|")
    after = arguments[arguments.index("train") + 1 : -1]
    assert after == (["--resume", str(run)] if begun else ["my data", "--out", str(run)])
