class Failure(Exception):
    """Something that must not happen did."""
