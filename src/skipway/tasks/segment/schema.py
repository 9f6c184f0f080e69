"""The classes of an image's pixels as the server's OpenAPI document describes them."""

from pydantic import BaseModel, ConfigDict, Field

from skipway.tasks.mask_schema import Mask


class Segment(BaseModel):
    """A class, its share of the image's pixels, and where they are.

    The mask covers the image as sent, upright, and is as large as its size says: reduced where the masks would be long.
    """

    model_config = ConfigDict(populate_by_name=True)

    label: str = Field(alias="class")
    share: float = Field(gt=0, le=1)
    mask: Mask
