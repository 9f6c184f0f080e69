"""`skipway serve`: what it refuses before it serves, each in one line."""

import socket
import sys
from pathlib import Path

import pytest
from served import write_bundle
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
    refused(skipway("serve", "run", "--port", "0", "--device", "abacus"), "device 'abacus' is not here")


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
