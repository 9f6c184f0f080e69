"""Tables of addresses: what a server gives is what is read, and every fault is one line without secrets."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skipway.data import open_dataset, remote
from skipway.data.remote import read_remote, shown
from skipway.errors import DataError
from tests.data.hostile import encoded, photo

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")


class Server(http.server.ThreadingHTTPServer):
    """Serves /NUMBER.png; /busy/... fails twice, /denied and /gone always."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.answer(True)

    def answer(self, whole: bool) -> None:
        asked = self.server.asked  # type: ignore[attr-defined]
        status = {"/denied.png": 403, "/gone.png": 404, "/down.png": 503}.get(self.path.split("?")[0], 200)
        if self.path.startswith("/busy") and asked.count(self.path) < 3:
            status = 503
        content = encoded(photo(int(self.path[-5])), "PNG") if status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if whole:
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    for name in ("SKIPWAY_OFFLINE", "HF_HUB_OFFLINE", remote.CACHE):
        monkeypatch.delenv(name, raising=False)
    found = Server()
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def table(folder: Path, paths: list[str]) -> str:
    file = folder / "t.csv"
    file.write_text("path,label\n" + "".join(f"{path},{'ab'[i % 2]}\n" for i, path in enumerate(paths)))
    return str(file)


def test_addresses_and_files_make_one_data_set(server: Server, tmp_path: Path) -> None:
    (tmp_path / "4.png").write_bytes(encoded(photo(4), "PNG"))
    paths = [f"{server.address}/{i}.png" for i in range(4)]
    found = open_dataset(table(tmp_path, [*paths, "4.png"]))
    assert not server.asked, "nothing is read before it is needed"
    assert [found.train.items[i] for i in range(5)] == [encoded(photo(i), "PNG") for i in range(5)]
    assert found.train.names == [*paths, "4.png"] and found.classes == ("a", "b")


@pytest.mark.parametrize(
    ("name", "message", "tries"),
    [
        ("denied.png", "may not be read: check the credentials", 1),
        ("gone.png", "does not exist: correct the address", 1),
        ("down.png", r"cannot be reached \(.*\): check the network and the address", 3),
    ],
)
def test_faults_are_one_line_without_secrets(server: Server, name: str, message: str, tries: int) -> None:
    address = f"{server.address.replace('//', '//me:secret@')}/{name}?token=secret"
    with pytest.raises(DataError, match=message) as caught:
        read_remote(address)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{server.address}/{name} ")
    assert caught.value.__cause__ is None
    assert len(server.asked) == tries


def test_a_busy_server_is_asked_again(server: Server) -> None:
    assert read_remote(f"{server.address}/busy/3.png") == encoded(photo(3), "PNG")
    assert len(server.asked) == 3


def test_what_was_read_is_kept_where_that_is_asked_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        read_remote(f"{server.address}/1.png")
    assert len(server.asked) == 2
    monkeypatch.setenv(remote.CACHE, str(tmp_path / "cache"))
    for _ in range(3):
        assert read_remote(f"{server.address}/1.png") == encoded(photo(1), "PNG")
    assert len(server.asked) == 3
    assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setenv("SKIPWAY_OFFLINE", "1")
    assert read_remote(f"{server.address}/1.png"), "what is kept needs no network"
    with pytest.raises(DataError, match="is not fetched, since SKIPWAY_OFFLINE is set"):
        read_remote(f"{server.address}/2.png")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(remote.CACHE, str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match=r"cannot be used .*: choose another folder"):
        monkeypatch.delenv("SKIPWAY_OFFLINE")
        read_remote(f"{server.address}/2.png")


def test_too_large_and_unreachable(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_FILE_SIZE", 100)
    with pytest.raises(DataError, match="has more than 100 bytes: make it smaller"):
        read_remote(f"{server.address}/1.png")
    with pytest.raises(DataError, match="cannot be reached"):
        read_remote("http://127.0.0.1:9/1.png")


def test_without_the_extra_the_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"is not installed: pip install 'skipway\[remote\]'$"):
        read_remote("s3://bucket/1.png")


def test_an_address_that_is_none_is_one_line(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("path,label\nhttps://ada:pw@[x/1.png,cat\nhttps://ada:pw@[x/1.png,dog\n")
    with pytest.raises(DataError, match=r"row 3 gives https://\.\.\. the label") as caught:
        open_dataset(str(table))
    assert "pw" not in str(caught.value)


def test_secrets_are_no_part_of_a_name() -> None:
    assert shown("https://me:pw@host:1/a/b.jpg?X-Amz-Signature=1#x") == "https://host:1/a/b.jpg"
    assert shown("s3://bucket/a b.jpg") == "s3://bucket/a b.jpg"


@pytest.mark.filterwarnings("ignore")
def test_a_bucket_of_a_local_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    import boto3

    for name, value in {
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("SKIPWAY_OFFLINE", "HF_HUB_OFFLINE", remote.CACHE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    started = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    started.start()
    try:
        host, port = started.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket="photos")
        for i in range(3):
            client.put_object(Bucket="photos", Key=f"a/{i}.png", Body=encoded(photo(i), "PNG"))
        found = open_dataset(table(tmp_path, [f"s3://photos/a/{i}.png" for i in range(3)]))
        assert [found.train.items[i] for i in range(3)] == [encoded(photo(i), "PNG") for i in range(3)]
        with pytest.raises(DataError, match=r"^s3://photos/a/9\.png does not exist: correct the address$"):
            read_remote("s3://photos/a/9.png")
        with pytest.raises(DataError, match=r"^s3://other/9\.png does not exist"):
            read_remote("s3://other/9.png")
    finally:
        started.stop()
