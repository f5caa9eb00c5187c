"""A full disk is one line that names the file and the room it takes; what was there stays."""

import errno
import os
import pickle
import shutil

import numpy as np
import pytest

from input_pipeline.disk import DiskFullError, is_full
from input_pipeline.errors import UserError
from input_pipeline.files import whole_file, whole_folder


def hidden() -> Exception:
    try:
        try:
            raise OSError(errno.EDQUOT, "quota")
        except OSError as error:
            raise RuntimeError("a library failed") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "x"), errno.ENOSPC),
        (OSError(errno.EFBIG, "x"), errno.EFBIG),
        (OSError("389520 requested and 124416 written"), errno.ENOSPC),  # numpy.ndarray.tofile
        (RuntimeError("UNKNOWN: write: No space left on device"), errno.ENOSPC),  # ArrayRecord
        (hidden(), errno.EDQUOT),
        (OSError(errno.EACCES, "x"), None),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), None),  # of a device
    ],
)
def test_a_full_disk_is_known_by_code_or_words(error, code):
    assert is_full(error) == code


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from input_pipeline.command_errors import one_line_errors
from input_pipeline.files import whole_file, whole_folder
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
folder, how = Path(sys.argv[1]), sys.argv[2]
with one_line_errors():
    if how == "array":
        with whole_folder(folder / "made") as made:
            np.save(made / "a.npy", np.zeros(100_000))
    elif how == "bytes":
        with whole_file(folder / "made") as made:
            made.write_bytes(bytes(100_000))
    else:
        with open(folder / "log", "ab") as log:
            log.write(bytes(100_000))
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("array", "made: no space left on device; it needs more than 0.1 MB, "),
        ("bytes", "made: file too large; it needs more than 0.1 MB, "),
        ("log", "error: file too large; make room and run the same command again"),
    ],
)
def test_a_limit_of_the_system_ends_in_one_line(tmp_path, run_python, how, said):
    ended = run_python(LIMITED, str(tmp_path), how, check=False)
    assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1
    assert said in ended.stderr and "again to go on" in ended.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"log"}


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_what_would_not_fit_is_not_begun(tmp_path, monkeypatch, whole):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=2_500_000))
    said = "made: no space left on device; it needs about 3.0 GB, 2.5 MB are free"
    with pytest.raises(DiskFullError, match=said) as raised, whole(tmp_path / "made", 3 * 10**9):
        raise AssertionError
    assert list(tmp_path.iterdir()) == []
    copied = pickle.loads(pickle.dumps(raised.value))
    assert (str(copied), copied.errno) == (str(raised.value), errno.ENOSPC)


def test_other_errors_pass_as_they_are(tmp_path):
    words = os.strerror(errno.EFBIG)
    with pytest.raises(UserError, match=words), whole_folder(tmp_path / "made") as made:
        np.save(made / "a.npy", np.zeros(3))
        raise UserError(words)
