"""What goes over the wire, as the OpenAPI document says it."""

from typing import Any

from pydantic import BaseModel, Field, create_model

from skipway.deploy.serve.request_body import FIELD

IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff", "image/avif")


class Fault(BaseModel):
    """Why a request was refused, in one sentence."""

    detail: str


def answers_model(fields: dict[str, Any]) -> type[BaseModel]:
    """`Answers`, whose images have the `fields` of a task beside their names and errors."""
    answer = create_model(
        "Answer",
        __doc__="What the network predicts for an image, or why it could not be read.",
        name=(str, ...),
        **fields,
        error=(str, Field(description="Empty for an image that was read.")),
    )
    return create_model(
        "Answers",
        __doc__="One answer for each image, in the order sent; seconds from the body's last byte on.",
        images=(list[answer], ...),  # type: ignore[valid-type]
        seconds=(float, Field(ge=0)),
    )


class Bounds(BaseModel):
    """What a request may hold."""

    body_bytes: int
    images: int
    pixels: int
    frames: int


class GenerationBounds(BaseModel):
    """What a request to a generator may hold."""

    body_bytes: int
    images: int
    steps: int
    evaluations: int = Field(description="Of the network, for all images of a request.")
    seconds: float = Field(description="For all images of a request.")


class Model(BaseModel):
    """The network's card."""

    network: str
    task: str
    fields: list[str] = Field(description="What an answer holds for an image, besides its name and error.")
    classes: list[str]
    parameters: int
    size: int = Field(description="Width in pixels of what the network sees, or draws.")
    height: int
    channels: int
    data: str
    recipe: str
    created: str
    calibration: dict[str, Any] | None
    metrics: dict[str, dict[str, Any]]
    versions: dict[str, str]
    limits: Bounds | GenerationBounds


class State(BaseModel):
    """Whether the server is well."""

    status: str


FAULTS = {
    400: "The body cannot be read.",
    401: "The API key is missing or wrong.",
    406: "There is no answer in a form that Accept names.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    415: "The body is of a type that is not taken.",
    422: "An image or a parameter is not as it must be.",
    429: "The server is busy; Retry-After says for how many seconds.",
    500: "The network failed.",
    504: "The answer took too long.",
}


def faults(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """FAULTS for a route's `responses`."""
    return {status: {"model": Fault, "description": FAULTS[status]} for status in statuses}


def body(many: bool) -> dict[str, Any]:
    """`requestBody` of images: a form, or one image as it is."""
    file = {"type": "string", "format": "binary", "minLength": 1}
    files = (
        {"type": "array", "items": file, "minItems": 1}
        if many
        else {"type": "array", "items": file, "minItems": 1, "maxItems": 1}
    )
    form = {"type": "object", "properties": {FIELD: files}, "required": [FIELD], "additionalProperties": False}
    content: dict[str, Any] = {
        "multipart/form-data": {"schema": form, "encoding": {FIELD: {"contentType": ", ".join(IMAGE_TYPES)}}}
    }
    content |= {kind: {"schema": file} for kind in (*IMAGE_TYPES, "application/octet-stream")}
    return {"requestBody": {"required": True, "content": content}}
