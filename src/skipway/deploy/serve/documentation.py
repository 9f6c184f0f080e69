"""How the server is asked: a command that works when copied, and a page of every operation, made of the schema.

FastAPI's own page loads its scripts from elsewhere; this one needs nothing but the server.
"""

import shlex
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from skipway.deploy.serve.request_body import FIELD

if TYPE_CHECKING:
    from jinja2 import Template

PREDICT, GENERATE = "/v1/predict", "/v1/generate"
ASKED = """-H 'Content-Type: application/json' -H 'Accept: image/png' -d '{"n": 16, "seed": 3}' -o images.png"""
KEY_HEADER = "X-API-Key"
METHODS = ("get", "post", "put", "patch", "delete")


def curl_command(address: str, key: str = "", generates: bool = False) -> str:
    """What a shell runs to have photo.jpg labelled by the server at `address`, or images generated.

    `key` is how the shell finds the API key, such as $SKIPWAY_API_KEY; empty for none. The key itself is not shown.
    """
    header = f' -H "{KEY_HEADER}: {key}"' if key else ""
    if generates:
        return f"curl{header} {ASKED} {shlex.quote(address + GENERATE)}"
    return f"curl{header} -F {FIELD}=@photo.jpg {shlex.quote(address + PREDICT)}"


def page(schema: dict[str, Any], address: str, key: str = "", generates: bool = False) -> str:
    """The page as HTML: the command, and each operation of the OpenAPI document `schema` with what it does."""
    operations = [
        (method.upper(), path, operations[method].get("description", ""))
        for path, operations in schema["paths"].items()
        for method in METHODS
        if method in operations
    ]
    command = curl_command(address, key, generates)
    return template().render(command=command, operations=operations, generates=generates)


@cache
def template() -> "Template":
    """The page's, compiled once: that takes a hundred times as long as filling it in."""
    from jinja2 import Environment, StrictUndefined

    text = (files("skipway.deploy.serve") / "page" / "docs.html").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        text
    )


def elsewhere(address: str, key: str = "", generates: bool = False) -> str:
    """Where to go from an address that answers nothing, as a sentence."""
    how = f"({curl_command(address, key, generates)}); /docs lists what there is"
    return (
        f"images are generated with POST to {GENERATE} {how}"
        if generates
        else f"images are sent with POST to {PREDICT} {how}"
    )
