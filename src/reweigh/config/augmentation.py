"""Options of an augmentation policy that a method learns; see `reweigh.data.augmentation_policy`."""

from typing import Annotated, Literal

from pydantic import Field

from reweigh.config.specs import Frozen

Few = Annotated[int, Field(ge=1, le=100)]
Temperature = Annotated[float, Field(ge=0.001, le=100)]  # below it float32 overflows


class AugmentationOptions(Frozen):
    """How many policies, of how many sub-policies and stages; the temperatures of the search; where it starts.

    `policies`: one for each cluster of classes (PDA), or one for all of them (MADAO). `temperature` is that of the
    relaxed Bernoulli, `operation_temperature` that of the softmax over a stage's operations. `start` is what all
    probabilities and magnitudes are at first, or "uniform": each is drawn from 0 … 1.
    """

    policies: Literal["cluster", "one"]
    sub_policies: Few
    stages: Few
    temperature: Temperature
    operation_temperature: Temperature
    start: Annotated[float, Field(ge=0, le=1)] | Literal["uniform"]
