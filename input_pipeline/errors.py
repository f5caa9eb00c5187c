"""The error a user can mend, and the hint it ends in."""

import difflib
from collections.abc import Iterable, Iterator


class UserError(Exception):
    """One line that names the night, file, row or key, what was found and what was expected.

    Commands print it without a traceback and exit with 1; anything else is a bug and keeps its
    traceback.
    """


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from or amid, and so on."""
    inner: BaseException | None = error
    for _ in range(20):  # causes may go in a circle
        if inner is None:
            return
        yield inner
        inner = inner.__cause__ or inner.__context__


def suggestion(word: str, known: Iterable[str]) -> str:
    """What to write in place of an unknown word: the one most like it, else all that are known."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
