"""What every command shares: one clear line and a non-zero exit when something is wrong."""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from input_pipeline.disk import DiskFullError, is_full
from input_pipeline.errors import UserError, causes

AGAIN = 75
"""Exit status of what another start of the same command mends (EX_TEMPFAIL of sysexits.h)."""

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


def status(error: KeyboardInterrupt) -> int:
    """The exit status after a signal, as shells have it."""
    return TERMINATED if isinstance(error, Terminated) else INTERRUPTED


_ended_with: list[int] = []


def exit_status() -> int:
    """With which a command is ending, once its error has been said; 0 before."""
    return _ended_with[-1] if _ended_with else 0


def _say(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)


def _fail(message: str, code: int) -> NoReturn:
    _ended_with.append(code)
    _say(message)
    raise SystemExit(code)


def give_up(message: str, code: int = AGAIN) -> NoReturn:
    """Ends the process now, with one line, from any thread; nothing else of it is run."""
    with contextlib.suppress(OSError, ValueError):  # nobody reads our words any more
        sys.stdout.flush()
        _say(message)
    os._exit(code)


@contextlib.contextmanager
def one_line_errors(resume_hint: str = "run the same command again to go on") -> Iterator[None]:
    """Turns what a user can mend into one line on stderr and a non-zero exit.

    Args:
        resume_hint: what to do after an interruption; shown on Ctrl-C (exit 130) and SIGTERM (143).
    """
    previous = {}
    with contextlib.suppress(AttributeError):  # a stream of tests
        # Tables hold µ and −, which a terminal of another encoding does not know.
        sys.stdout.reconfigure(errors="backslashreplace")  # pyrefly: ignore
    with contextlib.suppress(ValueError):  # not in the main thread: leave the handlers alone
        previous[signal.SIGTERM] = signal.signal(signal.SIGTERM, _terminate)
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # of the imports: `as_command`
            previous[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except UserError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt as error:
        _fail(f"interrupted; {resume_hint}", status(error))
    except DiskFullError as error:
        _fail(str(error), 1)
    except OSError as error:
        where = f" while writing {os.path.basename(str(error.filename))}" if error.filename else ""
        if (code := is_full(error)) is not None:
            _fail(f"{os.strerror(code).lower()}{where}; make room and {resume_hint}", 1)
        if error.errno in (errno.EACCES, errno.EROFS):
            _fail(f"permission denied{where or f': {error}'}", 1)
        if error.errno in (errno.EEXIST, errno.ENOTDIR) and (name := _file_on(error.filename)):
            _fail(f"{name} is a file; expected a folder", 1)
        raise
    except Exception as error:
        # A library may turn a signal that came in the midst of it into an error of its own, as
        # NumPy does while it reads the format of a buffer.
        for behind in causes(error):
            if isinstance(behind, KeyboardInterrupt):
                _fail(f"interrupted; {resume_hint}", status(behind))
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _file_on(path: object) -> str:
    """The name of a file that stands where a path needs a folder; "" where none does."""
    if not isinstance(path, str | os.PathLike):
        return ""
    found = (each for each in (Path(path), *Path(path).parents) if each.is_file())
    return next((each.name for each in found), "")


def _terminate(signum: int, frame: object) -> NoReturn:
    raise Terminated
