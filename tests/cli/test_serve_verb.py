"""`skipway serve`: what it refuses before it serves, each in one line."""

import contextlib
import io
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from served import listening, picture, strict, write_bundle
from typed import refused


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn", "python_multipart", "prometheus_client"])
def test_a_missing_extra_is_named(skipway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    refused(skipway("serve", str(tmp_path)), "pip install 'skipway[serve]'")


def test_a_folder_without_a_bundle(skipway, tmp_path: Path) -> None:
    refused(skipway("serve", "no/such"), "no/such does not exist")
    (tmp_path / "empty").mkdir()
    refused(skipway("serve", "empty"), "holds no bundle")


def test_an_address_that_cannot_be_had(skipway, tmp_path: Path) -> None:
    write_bundle(tmp_path / "run")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused(skipway("serve", "run", "--port", port), f"127.0.0.1:{port} cannot be served (Address already in use)")
    refused(skipway("serve", "run", "--host", "no host"), "--host no host is no address")
    refused(skipway("serve", "run", "--port", "99999"), "--port")


def test_an_engine_or_device_that_is_not_there(skipway, tmp_path: Path) -> None:
    write_bundle(tmp_path / "run")
    refused(skipway("serve", "run", "--port", "0", "--engine", "steam"), "steam")
    refused(skipway("serve", "run", "--port", "0", "--device", "abacus"), "device 'abacus' is not available")


def test_keys_that_cannot_be_used(skipway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(skipway("serve", "run", "--api-key-file", "none.txt"), "none.txt cannot be read")
    (tmp_path / "empty.txt").write_text("\nsecond line\n")
    refused(skipway("serve", "run", "--api-key-file", "empty.txt"), "holds no key")
    (tmp_path / "umlaut.txt").write_text("schlüssel")
    refused(skipway("serve", "run", "--api-key-file", "umlaut.txt"), "printable ASCII")
    monkeypatch.setenv("SKIPWAY_API_KEY", "схема")
    refused(skipway("serve", "run"), "SKIPWAY_API_KEY")


def test_values_that_cannot_be(skipway) -> None:
    for option, value in (("--workers", "0"), ("--max-batch", "0"), ("--max-images", "-1"), ("--max-mb", "0")):
        refused(skipway("serve", "run", option, value), option)


def answered_by_shell(line: str, folder: Path, environment: dict[str, str]) -> None:
    """What a shell in the folder of photo.jpg gets for `line`, which must not show the key."""
    curl, shell = shutil.which("curl"), shutil.which("bash")
    if not curl or not shell:
        pytest.skip("there is no curl, or no bash")
    assert line.startswith("curl ")
    asked = subprocess.run([shell, "-c", line], cwd=folder, capture_output=True, text=True, check=True, env=environment)
    (answer,) = json.loads(asked.stdout)["images"]
    assert answer["name"] == "photo.jpg"
    assert sum(one["probability"] for one in answer["classes"]) == pytest.approx(1, abs=1e-5)


def test_the_command_that_is_printed_works_when_copied(tmp_path: Path) -> None:
    """Of a process of its own, with a key in a file."""
    write_bundle(tmp_path / "run")
    (tmp_path / "photo.jpg").write_bytes(picture())
    (tmp_path / "my key").write_text("sesame\n")
    options = ["--port", "0", "--device", "cpu", "--api-key-file", "my key"]
    command = [sys.executable, "-m", "skipway", "serve", "run", *options]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            first, line = server.stdout.readline(), server.stdout.readline()
            assert "sesame" not in first + line
            answered_by_shell(line, tmp_path, dict(os.environ))
        finally:
            server.terminate()


@pytest.mark.parametrize("own", [{}, {"SKIPWAY_API_KEY": "sesame"}], ids=["no key", "key in a variable"])
def test_it_works_without_a_key_and_with_one_in_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: dict[str, str]
) -> None:
    """Standard output alone is redirected: the server configures logging, whereupon absl's handler, where something
    imported it, closes the standard error that it began with if that is no longer sys.stderr.
    """
    from skipway.cli.serve import key_in_shell, print_address, read_key

    for name, value in own.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "photo.jpg").write_bytes(picture())
    key = read_key(None)
    assert bool(key) == bool(own)
    with listening(write_bundle(tmp_path / "run"), strict(latency=60.0), key) as address:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            print_address(tmp_path / "run", "127.0.0.1", key_in_shell(None, key), False, address)
        first, line = said.getvalue().splitlines()
        assert "sesame" not in first + line
        answered_by_shell(line, tmp_path, dict(os.environ))


def test_where_it_listens_everywhere_the_address_is_one_that_can_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    from skipway.cli.serve import print_address
    from skipway.deploy.serve.server import address_of, listener

    with listener("0.0.0.0", 0) as bound:
        address = address_of(bound)
        print_address(Path("run"), "0.0.0.0", "", False, address)
    assert address == f"http://127.0.0.1:{bound_port(address)}"
    print_address(Path("run"), "::1", "", False, "http://[::1]:8000")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"run at {address} and every other address of this machine (Ctrl-C ends it)"
    assert "whoever reaches this address" in said[2]
    assert shlex.split(said[4]) == ["curl", "-F", "images=@photo.jpg", "http://[::1]:8000/v1/predict"]


def bound_port(address: str) -> int:
    return int(address.rpartition(":")[2])
