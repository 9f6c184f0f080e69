"""A mask as the server's OpenAPI document describes it."""

from pydantic import BaseModel


class Mask(BaseModel):
    """COCO's run-length encoding: height and width, and the compressed counts."""

    size: list[int]
    counts: str
