"""The error of the stress test."""


class Failure(Exception):
    """Something that must not happen did."""
