"""What takes much memory is taken one after the other, and given back in between."""

import sys

import jax
import pytest

from input_pipeline.readers.video import VideoReader
from sacd_jax.staging import memory
from sacd_jax.staging.stager import load_stager
from tests.staging.test_night_context import store_context
from tests.staging.test_stager import every_second, write

FREED = """
import sys
import numpy as np
from sacd_jax.staging import memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6

if sys.argv[1] == "mapped":
    memory.map_large_blocks()
np.ones(30 << 20, np.uint8)  # freed at once: the heap is now the place of such blocks
large = np.ones(20 << 20, np.uint8)
small = [np.ones(2000, np.uint8) for _ in range(100)]  # above it in the heap
full = resident()
del large
if sys.argv[1] == "given back":
    memory.give_back()
print(full - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize(("how", "least", "most"), [
    ("as it is", -1, 2), ("mapped", 19, 25), ("given back", 19, 60),
])  # fmt: skip
def test_a_large_block_is_given_back(run_python, how, least, most) -> None:
    assert least < float(run_python(FREED, how, devices=1).stdout) < most


def test_compilers_work_while_no_video_is_open(tmp_path, monkeypatch) -> None:
    events: list[str] = []

    def noting(owner, name: str, word: str) -> None:
        right = getattr(owner, name)

        def noted(*values, **named):
            events.append(word)
            return right(*values, **named)

        monkeypatch.setattr(owner, name, noted)

    noting(VideoReader, "__init__", "open")
    noting(VideoReader, "close", "close")
    noting(jax.stages.Lowered, "compile", "compile")
    noting(memory, "give_back", "give back")
    stager = load_stager(store_context(tmp_path / "run", None))
    noting(stager.over_night, "probabilities", "context")
    for name in ("first", "second"):
        stager.predict(write(tmp_path / f"{name}.mkv", every_second(4.0, 65.0)))
    opened = ["give back", "open", "close", "give back", "context", "give back"]
    assert events == ["open", "close", "compile", *opened, "open", "close", *opened]
