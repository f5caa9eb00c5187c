"""The page "Bring your own nights": its commands in order, and what they make, clip by clip."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from input_pipeline.datasets import data_card
from input_pipeline.datasets.dataset_files import read_info
from input_pipeline.source import open_split
from input_pipeline.splits import SPLITS
from tests.input_pipeline import odd_nights


@pytest.mark.slow
def test_the_page_leads_from_recordings_to_a_report(tmp_path, root):
    page = (root / "docs" / "bring-your-own-nights.md").read_text()
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert [language for language, _ in blocks].count("bash") == 7
    (tmp_path / "configs").symlink_to(root / "configs")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(root),
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
    }
    printed = []
    for language, text in blocks:
        if language == "python":
            (tmp_path / "make_manifest.py").write_text(text)
            continue
        done = subprocess.run(
            ["bash", "-ec", text], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, (text, done.stdout[-3000:], done.stderr[-3000:])
        assert "Mustermann" not in done.stdout + done.stderr
        printed.append(done.stdout)
    _, _, inspected, aligned, _, _, evaluated = printed
    assert "10 nights can be used" in inspected
    assert "10 of 10 nights aligned" in aligned
    (folder,) = (tmp_path / "study" / "data").glob("s3ve-*")
    check_clips(folder, odd_nights.truths())
    assert "sacd − baseline" in evaluated
    report = (tmp_path / "runs" / "own" / "report.html").read_text()
    assert "digits in the file name" in report and "no clip of REM" not in report


def check_clips(folder, truths):
    """Every clip has the stage that was scored and the frames of its 30 s; all are there but one or
    two at the ends of a night."""
    card = data_card.read_card(folder, read_info(folder))
    assert card is not None
    kept = dict.fromkeys(truths, 0)
    for split in SPLITS:
        source = open_split(folder, split)
        for row in range(len(source)):
            night, clip = str(source.table.night_id[row]), int(source.table.clip_index[row])
            kept[night] += 1
            truth, record = truths[night], source[row]
            assert record["stage"] == source.table.stage[row] == truth.stage[clip]
            shown = truth.psg_seconds(odd_nights.numbers(np.asarray(record["video"])[..., 0]))
            # Half a frame for the nearest one, half a second for the clocks as they were found.
            assert np.abs(shown - 30 * clip - np.arange(60) / 2).max() < 0.75
    for night, count in kept.items():
        assert card["nights"][night]["counts"]["kept"] == count >= 118
    assert card["clock_sources"] == {"digits in the file name": len(truths)}
