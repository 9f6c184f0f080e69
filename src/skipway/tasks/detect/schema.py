"""Detected objects as the server's OpenAPI document describes them."""

from pydantic import BaseModel, ConfigDict, Field

from skipway.tasks.mask_schema import Mask


class Box(BaseModel):
    """In pixels of the image as sent, upright."""

    left: float
    top: float
    right: float
    bottom: float


class FoundObject(BaseModel):
    """An object, its score and its box; a mask where the network has them."""

    model_config = ConfigDict(populate_by_name=True)

    label: str = Field(alias="class")
    score: float = Field(ge=0, le=1)
    box: Box
    mask: Mask | None = None
