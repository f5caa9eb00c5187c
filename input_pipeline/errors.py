"""The error a user can mend."""


class UserError(Exception):
    """One line that names the night, file, row or key, what was found and what was expected.

    Commands print it without a traceback and exit with 1; anything else is a bug and keeps its
    traceback.
    """
