"""What every command shares: one clear line and a non-zero exit when something is wrong."""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator

from input_pipeline.errors import UserError


def _fail(message: str, code: int) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    raise SystemExit(code)


@contextlib.contextmanager
def one_line_errors(resume_hint: str = "run the same command again to go on") -> Iterator[None]:
    """Turns what a user can mend into one line on stderr and a non-zero exit.

    Args:
        resume_hint: what to do after an interruption; shown on Ctrl-C and SIGTERM (exit 130).
    """
    previous = None
    with contextlib.suppress(ValueError):  # not in the main thread: leave the handler alone
        previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except UserError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail(f"interrupted; {resume_hint}", 130)
    except OSError as error:
        where = f" while writing {os.path.basename(str(error.filename))}" if error.filename else ""
        if error.errno == errno.ENOSPC:
            _fail(f"no space left on the disk{where}; free some and {resume_hint}", 1)
        if error.errno in (errno.EACCES, errno.EROFS):
            _fail(f"permission denied{where or f': {error}'}", 1)
        raise
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt
