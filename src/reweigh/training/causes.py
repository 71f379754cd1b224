"""The first cause of an exception, which others hide. Nothing here imports torch."""


def root_of(error: BaseException) -> BaseException:
    """The exception that came first: the end of a capture that failed raises another one, which hides it."""
    while (before := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        error = before
    return error
