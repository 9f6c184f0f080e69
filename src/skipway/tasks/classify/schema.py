"""A class and its probability, as the server's OpenAPI document has them."""

from pydantic import BaseModel, Field


class ClassShare(BaseModel):
    """A class and its probability, calibrated where the network's card is."""

    name: str = Field(alias="class")
    probability: float = Field(ge=0, le=1)
