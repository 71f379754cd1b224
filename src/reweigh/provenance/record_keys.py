"""Words of the form of a record: types of its values, and how a key says what it means."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
Time = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    """Base of all parts: unknown keys, silent conversions and NaN are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def key(meaning: str) -> Any:
    """A key that every record has, and what it means."""
    return Field(description=meaning)


def on_request(meaning: str) -> Any:
    """A key that a record has if its spec asks for it, and what it means."""
    return Field(default=[], description=meaning)


def since(meaning: str) -> Any:
    """A key that the oldest records lack, and what it means."""
    return Field(default=None, description=f"{meaning}; absent in older records")
