"""What a server sends: the file arrives, or one line says why it does not, and no other file is touched."""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipway.download import fetch
from tests.fuzz.changes import refused_in_one_line

CONTENT = bytes(range(256)) * 8
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
STATUS = st.sampled_from([200, 206, 206, 204, 301, 302, 304, 307, 404, 416, 416, 500, 100, 999]).map(str) | st.text(
    max_size=4
)
LENGTHS = ["0", "-1", "2048", "2047", "999999", "9" * 30, "", " ", "x", "2048, 2048", "+5", "0x8", "1e3", "٣"]
HEADERS = st.one_of(
    st.tuples(st.just("Content-Length"), st.sampled_from(LENGTHS)),
    st.tuples(st.just("Content-Range"), st.sampled_from(["bytes 0-9/9", "bytes 5-/x", "", "x"])),
    st.tuples(st.just("Transfer-Encoding"), st.sampled_from(["chunked", "gzip", "identity", "chunked, chunked"])),
    st.tuples(st.just("Content-Encoding"), st.sampled_from(["gzip", "x"])),
    st.tuples(
        st.just("Location"),
        st.sampled_from(
            ["http://[::1", "http://127.0.0.1:1/", "file:///etc/passwd", "//", "http://127.0.0.1:x/", "ftp:", ""]
        ),
    ),
    st.tuples(st.text("abc-: \r\n", max_size=12), st.text(max_size=12)),
)
BODIES = st.sampled_from(
    [
        CONTENT,
        CONTENT[:100],
        b"",
        CONTENT + b"more",
        b"800\r\n" + CONTENT + b"\r\n0\r\n\r\n",
        b"5\r\nabc",
        b"-5\r\n",
        b"zz\r\n",
    ]
)


@pytest.fixture
def respond(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Callable[[bytes], None]]]:
    """A server's address, and what sets the bytes that it responds with to anything."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    content = [b""]
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(content[0])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/a", lambda found: content.__setitem__(0, found)
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # urllib leaves some responses open
def test_any_response_is_the_file_or_one_line(
    respond: tuple[str, Callable[[bytes], None]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url, answer = respond
    file, part = tmp_path / "a.bin", tmp_path / "a.bin.part"

    @given(STATUS, st.lists(HEADERS, max_size=4), BODIES, st.sampled_from([0, 100, 2048]))
    def check(status: str, headers: list[tuple[str, str]], body: bytes, begun: int) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        answer(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode(errors="replace") + body)
        if begun:
            part.write_bytes(CONTENT[:begun])
        found = refused_in_one_line(lambda: fetch(url, file, CHECKSUM))
        assert (found is not None) is file.exists()
        if found:
            assert file.read_bytes() == CONTENT
        assert {path.name for path in tmp_path.iterdir()} <= {file.name, part.name}
        file.unlink(missing_ok=True)
        part.unlink(missing_ok=True)

    check()
    capfd.readouterr()
