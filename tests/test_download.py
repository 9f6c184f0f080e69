"""Downloads from a server that answers, breaks off, ignores and refuses; and CIFAR in its binary layout from one."""

import hashlib
import io
import socket
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from skipway.data import cifar, open_source
from skipway.download import fetch
from skipway.errors import DataError, SkipwayError

CONTENT = np.random.default_rng(0).integers(0, 256, 700_000, dtype=np.uint8).tobytes()
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@dataclass
class Served:
    """What the server holds, how it behaves, and what it was asked and sent."""

    address: str = ""
    content: bytes = CONTENT
    break_after: int | None = None
    ignores_range: bool = False
    chunked: bool = False
    status: int = 200
    requests: list[str | None] = field(default_factory=list)
    sent: int = 0

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.requests.append(asked)
        if self.status != 200:
            handler.send_error(self.status)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and not self.ignores_range else 0
        if start >= len(self.content):
            handler.send_error(416)
            return
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        if self.chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        else:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        body = body[: self.break_after]
        handler.wfile.write(b"%x\r\n" % (len(body) + 1000) + body if self.chunked else body)
        self.sent += len(body)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    state = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_arrives_whole_and_is_not_asked_for_twice(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "cache" / "a.bin"
    for _ in range(2):
        assert fetch(f"{served.address}/a.bin", file, MD5) == file
        assert file.read_bytes() == CONTENT
    assert served.requests == [None]
    assert [p.name for p in file.parent.iterdir()] == ["a.bin"]


def test_a_download_leaves_standard_output_alone(
    served: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)
    assert capfd.readouterr().out == "", "which may be JSON that another program reads"


def test_another_content_is_removed_and_said(served: Served, tmp_path: Path) -> None:
    with pytest.raises(SkipwayError, match=r"/a\.bin sent a file with another checksum than md5:0123.*removed"):
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", "md5:0123")
    assert not list(tmp_path.iterdir())


def test_a_broken_download_goes_on_where_it_stopped(served: Served, tmp_path: Path) -> None:
    served.break_after = 300_000
    with pytest.raises(SkipwayError, match=r"broke off after 300000 of 700000 bytes.*try again"):
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin.part"]
    with pytest.raises(SkipwayError, match="broke off after 600000 of 700000"):
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)
    served.break_after = None
    assert fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5).read_bytes() == CONTENT
    assert served.requests == [None, "bytes=300000-", "bytes=600000-"]
    assert served.sent == len(CONTENT), "no byte twice"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_server_that_cannot_go_on_is_begun_anew(served: Served, tmp_path: Path) -> None:
    served.ignores_range = True
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:1000])
    assert fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5).read_bytes() == CONTENT
    assert served.requests == ["bytes=1000-"]


def test_a_whole_part_needs_nothing_more(served: Served, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    assert fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5).read_bytes() == CONTENT
    assert served.sent == 0


def test_a_part_of_something_else_is_found_out(served: Served, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(bytes(1000))
    with pytest.raises(SkipwayError, match="another checksum"):
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)
    assert fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_a_servers_refusal_is_said_with_its_number(served: Served, tmp_path: Path, status: int) -> None:
    served.status = status
    with pytest.raises(SkipwayError, match=rf"/a\.bin answered {status}: .*place the file at .*a\.bin"):
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)


def test_a_chunked_answer_that_breaks_off_is_said_too(served: Served, tmp_path: Path) -> None:
    served.chunked, served.break_after = True, 100_000
    with pytest.raises(SkipwayError, match=r"cannot download .*/a\.bin"):
        fetch(f"{served.address}/a.bin", tmp_path / "a.bin", MD5)


def test_being_offline_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as taken:  # bound and not listening, so that nobody answers there
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.bin"
        with pytest.raises(SkipwayError, match=r"cannot download .*: go online .*place the file at .*a\.bin") as caught:
            fetch(url, tmp_path / "a.bin", MD5)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_made_is_named(served: Served, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(SkipwayError, match=str(tmp_path / "cache")):
        fetch(f"{served.address}/a.bin", tmp_path / "cache" / "a.bin", MD5)


# ---------------------------------------------------------------------------------------------------------------------
# CIFAR through such a server


def records(count: int, label_bytes: int, classes: int, seed: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    """`count` records in the binary layout, with their labels and their images (count, 32, 32, 3)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (count, label_bytes), dtype=np.uint8)
    images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    planar = images.transpose(0, 3, 1, 2).reshape(count, -1)  # all red, all green, all blue, row by row
    return np.concatenate([labels, planar], axis=1).tobytes(), labels[:, -1], images


def archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"some-folder/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def offer(served: Served, name: str, content: bytes, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """`content` as the archive of `name`, at the address and with the checksum that skipway then expects."""
    served.content = content
    checked = replace(cifar.ARCHIVES[name], checksum=f"md5:{hashlib.md5(content).hexdigest()}")
    monkeypatch.setitem(cifar.ARCHIVES, name, checked)
    monkeypatch.setattr(cifar, "PAGE", served.address)
    monkeypatch.setenv("SKIPWAY_CACHE", str(cache))


CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def test_cifar10_is_downloaded_once_and_read(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [records(4, 1, 10, seed) for seed in range(6)]
    files = {f"data_batch_{i}.bin": batches[i - 1][0] for i in (3, 1, 2, 5, 4)}  # in no order
    files |= {"test_batch.bin": batches[5][0], "batches.meta.txt": "\n".join([*CIFAR10, ""]).encode()}
    offer(served, "cifar10", archive(files), monkeypatch, tmp_path)
    for _ in range(2):
        source = open_source("cifar10")
    assert len(served.requests) == 1
    assert source.classes == tuple(CIFAR10)
    np.testing.assert_array_equal(source.train.items, np.concatenate([b[2] for b in batches[:5]]))
    np.testing.assert_array_equal(source.train.labels, np.concatenate([b[1] for b in batches[:5]]))
    np.testing.assert_array_equal(source.test.items, batches[5][2])
    np.testing.assert_array_equal(source.test.labels, batches[5][1])
    assert source.test.names[2] == "cifar10 test[2]"


def test_cifar100_takes_the_fine_labels(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = records(6, 2, 100, 0), records(3, 2, 100, 1)
    names = [f"class_{i}" for i in range(100)]
    files = {"train.bin": train[0], "test.bin": test[0], "fine_label_names.txt": "\n".join(names).encode()}
    offer(served, "cifar100", archive(files), monkeypatch, tmp_path)
    source = open_source("cifar100")
    assert source.classes == tuple(names)
    np.testing.assert_array_equal(source.train.labels, train[1])
    np.testing.assert_array_equal(source.train.items, train[2])
    np.testing.assert_array_equal(source.test.labels, test[1])


@pytest.mark.parametrize(
    "content", [b"not an archive", archive({"other.txt": b"x"}), archive({"test_batch.bin": b"x"})]
)
def test_a_wrong_file_placed_by_hand_is_refused_by_name(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The message for those who are offline tells them to place the file, so somebody will place another one.
    monkeypatch.setenv("SKIPWAY_CACHE", str(tmp_path))
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz"):
        open_source("cifar10")


def test_the_checksums_are_the_ones_on_the_authors_page() -> None:
    # https://www.cs.toronto.edu/~kriz/cifar.html, "CIFAR-10 binary version" and "CIFAR-100 binary version"
    assert cifar.ARCHIVES["cifar10"].checksum == "md5:c32a1d4ab5d03f1284b67883e8d87530"
    assert cifar.ARCHIVES["cifar100"].checksum == "md5:03b5dce01913d631647c71ecec9e9cb8"
