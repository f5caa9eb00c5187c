"""Recorded files are known by what is in them."""

import os

import numpy as np
import pytest

from input_pipeline import fingerprints
from input_pipeline.fingerprints import file_fingerprint


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A file that counts as a large one."""
    monkeypatch.setattr(fingerprints, "SMALL_FILE", 2**20)
    path = tmp_path / "v.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(3 * 2**20))
    os.utime(path, (1e9, 1e9))
    return path


def changed(path, position):
    """Fingerprint after one bit was flipped and the time put back."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    os.utime(path, (1e9, 1e9))
    return file_fingerprint(path)


def test_a_small_file_is_its_content_and_neither_name_nor_time(tmp_path):
    one, other = tmp_path / "a.txt", tmp_path / "b.txt"
    one.write_bytes(bytes(100_000))
    other.write_bytes(bytes(100_000))
    os.utime(other, (1e9, 1e9))
    before = file_fingerprint(one)
    assert file_fingerprint(other) == before
    assert all(changed(one, position) != before for position in (0, 50_000, 99_999))


def test_a_large_file_is_its_size_time_ends_and_samples(large):
    before = file_fingerprint(large)
    assert file_fingerprint(large) == before
    size = large.stat().st_size
    positions = (0, 2**17 - 1, 2**17 + 1, size - 2**17, size - 1)
    known = {changed(large, position) for position in positions}
    assert len(known) == 5 and before not in known
    before = file_fingerprint(large)
    os.utime(large, (1e9 + 1, 1e9 + 1))
    assert file_fingerprint(large) != before
