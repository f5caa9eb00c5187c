"""A task of the pod that `test_pod` plays: the command, on a disk that may be full."""

import os
import runpy
import shutil
import sys
from pathlib import Path

_free = shutil.disk_usage


def _disk_usage(path):
    """No room for checkpoints while the file that `FULL` names is there."""
    found = _free(path)
    full = "checkpoints" in Path(path).parts and os.path.exists(os.environ["FULL"])
    return found._replace(free=0) if full else found


shutil.disk_usage = _disk_usage
module = sys.argv[2]  # python -m MODULE …
sys.argv[1:3] = []
runpy.run_module(module, run_name="__main__", alter_sys=True)
