"""Errors that are the user's to mend: one line, no traceback."""


class DataError(ValueError):
    """The data cannot be read or used; the message says why and what to do."""


def one_line(error: object, length: int = 200) -> str:
    """Return an error's message on one line of printable characters, cut where it is long."""
    text = " ".join(str(error).split())
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= length else text[: length - 3] + "..."
