"""What the cards of the methods share that have a meta-network; see `reweigh.methods.meta_network`."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from reweigh.config.specs import Frozen, Rate


class Network(Frozen):
    """φ, and how it learns."""

    weights: Literal["network", "free"]
    activation: Literal["sigmoid", "softplus"]
    normalise: Literal["mean", "none"]
    trains: Literal["all", "head", "nothing"]
    sees: Literal["x", "xy"]
    inputs: Literal["augmented", "stored"]
    head_sd: Annotated[float, Field(ge=0, le=1e3)]
    optimiser: Literal["sgd", "adam"]
    rate: Rate | None
    momentum: Annotated[float, Field(ge=0, lt=1)]

    @model_validator(mode="after")
    def _means_something(self) -> "Network":
        if self.inputs == "stored" and self.trains == "all":
            raise ValueError("inputs: features are stored once, so the net cannot train all; set trains to head")
        if self.weights == "free" and (self.sees, self.inputs, self.trains) != ("x", "augmented", "all"):
            raise ValueError("weights: free ones have no net; set sees to x, inputs to augmented, trains to all")
        if self.optimiser == "adam" and self.momentum:
            raise ValueError("momentum: adam has its own; set it to 0")
        return self


NETWORK: dict[str, Any] = {
    "weights": "network",
    "activation": "sigmoid",
    "normalise": "mean",
    "trains": "all",
    "sees": "x",
    "inputs": "augmented",
    "head_sd": 0.001,
    "optimiser": "sgd",
    "rate": 0.001,
    "momentum": 0.9,
}
FREE = {**NETWORK, "weights": "free", "rate": 10.0}
STORED = {**NETWORK, "trains": "head", "inputs": "stored", "sees": "xy", "rate": 0.5}
FROZEN = {**NETWORK, "trains": "nothing", "head_sd": 0.0}
ADAM = {**NETWORK, "optimiser": "adam", "momentum": 0.0, "activation": "softplus", "normalise": "none", "rate": None}
