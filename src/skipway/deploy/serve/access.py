"""Who may ask a server, and how: the API key, and what is said of its address when it begins."""

import os
import shlex
from pathlib import Path

from skipway.errors import SkipwayError

LOOPBACK, EVERYWHERE = ("127.0.0.1", "::1", "localhost"), ("0.0.0.0", "::", "")
KEY_VARIABLE = "SKIPWAY_API_KEY"


def read_key(file: Path | None) -> str:
    """The API key of `file`'s first line, else of KEY_VARIABLE; empty when there is none. Raises SkipwayError."""
    if file is None:
        key, where = os.environ.get(KEY_VARIABLE, "").strip(), KEY_VARIABLE
    else:
        where = f"--api-key-file {file}"
        try:
            key = file.read_text(encoding="utf-8").partition("\n")[0].strip()
        except (OSError, UnicodeDecodeError) as fault:
            raise SkipwayError(f"{where} cannot be read ({fault}): give a text file") from None
        if not key:
            raise SkipwayError(f"{where} holds no key: write one in its first line")
    if not key.isascii() or not key.isprintable():
        raise SkipwayError(f"{where} holds characters that a request's head cannot carry: use printable ASCII")
    return key


def key_in_shell(file: Path | None, key: str) -> str:
    """How a shell finds the key, so that it need not be shown; empty without one."""
    if not key:
        return ""
    return f"${KEY_VARIABLE}" if file is None else f"$(head -n 1 {shlex.quote(str(file.absolute()))})"


def lines_about(served: Path, address: str, host: str, key: str, generates: bool = False) -> list[str]:
    """Where a network is served and how it is asked, and when it is served to anybody; `key` as in the shell."""
    from skipway.deploy.serve.documentation import curl_command  # FastAPI, which other commands do not need

    everywhere = " and every other address of this machine" if host in EVERYWHERE else ""
    lines = [f"{served} at {address}{everywhere} (Ctrl-C ends it)", curl_command(address, key, generates)]
    if host not in LOOPBACK and not key:
        lines.append("whoever reaches this address may use it: --api-key-file asks for a key")
    return lines
