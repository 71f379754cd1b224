"""Options that several methods share; see `reweigh.methods.base`."""

from typing import Annotated, Any

from pydantic import Field

from reweigh.config.specs import Count, Frozen

Loss = dict[str, Any] | None  # {"name": ..., its options}, which the loss's own card checks; None: cross-entropy


class ClassBalance(Frozen):
    """Effective-number class weights in the loss, from an epoch on."""

    beta: Annotated[float, Field(ge=0, lt=1)]
    from_epoch: Count


def loss_name(options: Any) -> str:
    """The name of the loss in a method's options."""
    return str((options.get("loss") or {}).get("name", "cross_entropy"))
