"""What may be said of text from outside: its kind and length, never a letter of it.

A cell of a manifest or a line of an export may hold a patient's name or birth date, whatever it
should hold; errors are copied into mails and issues.
"""

import contextlib
import os
from collections.abc import Iterator

_SHOW = "SACD_JAX_SHOW_VALUES"  # in the environment, so that worker processes know it too
_MOST_SHOWN = 80


def describe(text: str) -> str:
    """Length and classes of characters of `text`, such as "10 characters (digits, punctuation)".

    Inside `values_shown`, the text itself (its first 80 characters, quoted).
    """
    if os.environ.get(_SHOW):
        return repr(text[:_MOST_SHOWN]) + ("…" if len(text) > _MOST_SHOWN else "")
    if not text:
        return "nothing"
    kinds = {
        "letters": any(map(str.isalpha, text)),
        "digits": any(map(str.isdigit, text)),
        "spaces": any(map(str.isspace, text)),
    }
    if not all(c.isalpha() or c.isdigit() or c.isspace() for c in text):
        kinds["punctuation"] = True
    found = ", ".join(kind for kind, there in kinds.items() if there)
    return f"{len(text)} character{'s' if len(text) > 1 else ''} ({found})"


@contextlib.contextmanager
def values_shown(show: bool = True) -> Iterator[None]:
    """Lets `describe` show the values, here and in processes started inside the block."""
    before = os.environ.pop(_SHOW, None)
    if show:
        os.environ[_SHOW] = "1"
    try:
        yield
    finally:
        os.environ.pop(_SHOW, None)
        if before is not None:
            os.environ[_SHOW] = before
