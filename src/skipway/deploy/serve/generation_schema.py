"""What goes over the wire when images are generated, as the OpenAPI document says it."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from skipway.deploy.generate.request import FOR_LOOKING, NO_CLASS, GenerationRequest, guidance_for
from skipway.deploy.serve.limits import Limits, RefusedError
from skipway.errors import SkipwayError
from skipway.tasks.generate.sampler import SamplingOptions
from skipway.tasks.generate.solvers import SOLVERS

STEPS, GUIDANCE = 1000, 100.0  # more than anybody needs
LARGEST = 2**53 - 1  # whole number that every reader of JSON keeps exact (RFC 7493, section 2.2)
LONGEST = 200  # letters of a class's name
PNG, LINES = "image/png", "application/x-ndjson"
EXAMPLE_PNG = "iVBORw0KGgo="
PROGRESS, IMAGE, DONE, FAILED = "progress", "image", "done", "failed"  # events


def as_whole(value: Any) -> Any:
    """2.0 as 2, which JSON does not tell apart."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(as_whole)]


class Wanted(BaseModel):
    """The images `first` to `first + n - 1` of a seed; each is the same whatever else is asked for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    label: str | None = Field(None, alias="class", max_length=LONGEST, description="The class of all images.")
    classes: list[str] | None = Field(
        None, min_length=1, max_length=1000, description="Classes, taken in turn by the images' numbers."
    )
    n: Whole = Field(1, ge=1, description="How many images.")
    seed: Whole = Field(0, ge=0, le=LARGEST, description="Other images for each.")
    first: Whole = Field(0, ge=0, le=LARGEST, description="Number of the first image.")
    guidance: float | None = Field(
        None,
        ge=0,
        le=GUIDANCE,
        allow_inf_nan=False,
        description=f"How clearly the class shows; 1: as in the training data; null: {FOR_LOOKING} where there are "
        "classes.",
    )
    steps: Whole = Field(18, ge=1, le=STEPS, description="Steps of the solver from noise to image.")
    solver: str = Field("heun", max_length=LONGEST, description="Of the differential equation.")

    def request(self, known: Sequence[str], limits: Limits) -> GenerationRequest:
        """As the generator, whose classes are `known`, takes it. Raises RefusedError (422) for what cannot be."""
        if {"label", "classes"} <= self.model_fields_set:
            raise RefusedError(422, "class and classes: send one of them")
        if self.n > limits.generated:
            raise RefusedError(422, f"n is {self.n:,}, and {limits.generated:,} images are allowed: ask several times")
        names = self.classes if self.classes is not None else [] if self.label is None else [self.label]
        if any(len(name) > LONGEST for name in names):
            raise RefusedError(422, f"classes: a name has more than {LONGEST} characters")
        guidance = guidance_for(known, self.guidance)
        try:
            options = SamplingOptions(self.steps, self.solver, guidance)
            return GenerationRequest(tuple(names), self.n, self.seed, self.first, options)
        except SkipwayError as fault:
            raise RefusedError(422, str(fault)) from None


class Picture(BaseModel):
    """A generated image and what it can be drawn again with: class, seed, index and the settings in `text`."""

    index: int = Field(ge=0, description="Its number; send it as `first` to have it drawn again alone.")
    label: str | None = Field(alias="class", description="Null for no class.")
    seed: int = Field(ge=0)
    png: str = Field(description="The file, base64.", json_schema_extra={"contentEncoding": "base64"})
    text: dict[str, str] = Field(description="The text in the file: the network's checksum and every setting.")


class Pictures(BaseModel):
    """The images in order; seconds from the body's last byte on."""

    images: list[Picture]
    evaluations: int = Field(ge=1, description="Network evaluations of all images.")
    seconds: float = Field(ge=0)


def wanted(body: bytes) -> Wanted:
    """A request's body. Raises RefusedError: 400 for no JSON, 422 for what is not as it must be."""
    try:
        return Wanted.model_validate_json(body)
    except ValidationError as faults:
        first = faults.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        raise RefusedError(400, f"the body is no JSON ({first['msg'].removeprefix('Invalid JSON: ')})")
    where = ".".join(str(part) for part in first["loc"])[:LONGEST] or "the body"
    raise RefusedError(422, f"{where}: {first['msg']}")


def body_schema(known: Sequence[str], limits: Limits) -> dict[str, Any]:
    """`requestBody` for a generator with the classes `known`, with its limits and with examples."""
    schema = Wanted.model_json_schema()
    fields = schema["properties"]
    name = {"type": "string", "enum": [*known, NO_CLASS]}
    fields["class"]["anyOf"][0] = name
    fields["classes"]["anyOf"][0]["items"] = name
    fields["n"]["maximum"] = limits.generated
    fields["solver"] |= {"enum": list(SOLVERS)}
    schema["not"] = {"required": ["class", "classes"]}
    if not known:
        for field in ("class", "classes"):
            del fields[field]
        del schema["not"]
        fields["guidance"]["anyOf"][0] = {"type": "number", "const": 1}
    few = min(4, limits.generated)
    examples = {
        "several": {"summary": "Several images", "value": {"n": few, "seed": 3}},
        "again": {"summary": "One of them again, alone", "value": {"n": 1, "seed": 3, "first": few - 1}},
    }
    if known:
        of_class = {"class": known[0], "n": few, "seed": 3, "guidance": 2, "steps": 18, "solver": "heun"}
        examples["class"] = {"summary": "Of one class, with every setting", "value": of_class}
    content = {"application/json": {"schema": schema, "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}


def answer_schema() -> dict[str, Any]:
    """The answer's forms for a route's `responses`: JSON, one PNG, and lines of JSON."""
    picture = {"index": 0, "class": "7", "seed": 3, "png": EXAMPLE_PNG, "text": {"seed": "3", "index": "0"}}
    lines = (
        f'{{"event": "{PROGRESS}", "done": 35, "of": 70}}\n'
        f'{{"event": "{IMAGE}", "index": 0, "class": "7", "seed": 3, "png": "...", "text": {{"seed": "3"}}}}\n'
        f'{{"event": "{DONE}", "images": 1, "evaluations": 70, "seconds": 0.42}}\n'
    )
    about = (
        f"A line of JSON as each thing happens: `{PROGRESS}` of the evaluations of whole batches, `{IMAGE}` with an "
        f"image's fields, in order, and at the end `{DONE}`, or `{FAILED}` with `detail`."
    )
    content = {
        "application/json": {"example": {"images": [picture], "evaluations": 70, "seconds": 0.42}},
        PNG: {"schema": {"type": "string", "format": "binary", "description": "All images as a grid."}},
        LINES: {"schema": {"type": "string", "description": about}, "example": lines},
    }
    return {"model": Pictures, "description": "The images, in the form that Accept asks for.", "content": content}
