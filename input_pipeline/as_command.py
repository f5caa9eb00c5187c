"""Imported first: where a module of ours is run as a command, Ctrl-C ends its imports silently.

`input_pipeline.command_errors.one_line_errors` takes over once they are done.
"""

import signal
import sys

if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # What Python calls a module until it has found it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
