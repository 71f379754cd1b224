"""Errors that a user can act on: one line that says what is wrong and what to do."""


class ReweighError(Exception):
    """Base of every error that the command line prints as one line, without a traceback."""


class ConfigError(ReweighError):
    """A config file, a run name or a spec says something that cannot be."""


class DataError(ReweighError):
    """A raw file, a split or a mirror is missing, incomplete or not what its digest promises."""


class RecordError(ReweighError):
    """A record is missing, unreadable or does not match its own digest."""


class TrainingError(ReweighError):
    """A run cannot be trained to its end on this machine."""
