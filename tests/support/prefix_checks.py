"""Whether the stages that a method has in common with others are what it trains; see `reweigh.checking.prefixes`."""

from reweigh.checking.prefixes import check_prefix, check_what_prefix_leaves_out

__all__ = ["check_prefix", "check_what_prefix_leaves_out"]
