"""Errors that are the user's to mend: one line, no traceback."""


class DataError(ValueError):
    """The data cannot be read or used; the message says why and what to do."""
