"""The command that builds a dataset."""

import pytest

from input_pipeline import build
from input_pipeline.datasets import decode
from input_pipeline.errors import UserError
from input_pipeline.source import open_split
from input_pipeline.splits import SPLITS

from .fake_nights import fake_clips, fake_manifest

SIZE = ["--height", "4", "--width", "6", "--frame-rate", "0.4"]


def test_it_prints_what_was_built_and_where(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(decode, "clips", fake_clips)
    manifest, _ = fake_manifest(tmp_path, 12)
    arguments = ["--manifest", str(manifest), "--out", str(tmp_path / "data"), "--jobs", "1", *SIZE]
    build.main(arguments)
    *lines, total, card, folder = capsys.readouterr().out.splitlines()
    assert total == "left out: 12 clips (gap in PSG)"
    assert card == f"data card: {folder}/data_card.md"
    assert "note: night n03: made up on the spot" in lines
    assert lines[0] == "s3ve, split subject"
    for line, split in zip(lines[1:4], SPLITS, strict=True):
        source = open_split(folder, split)
        stages = source.info.counts[split]["stages"]
        subjects = len(set(source.table.subject_id.tolist()))
        assert line.split()[:7] == [
            *(split, str(subjects), "subjects", str(subjects), "nights", str(len(source)), "clips")
        ]
        assert line.endswith("  ".join(f"{name} {count}" for name, count in stages.items()))
    build.main(arguments)  # it is there already, and says the same
    assert capsys.readouterr().out.splitlines() == [*lines, total, card, folder]
    build.main([*arguments, "--split-mode", "paper_val"])
    assert capsys.readouterr().out.startswith("s3ve, split paper_val\n")


def test_help_shows_a_real_example(capsys):
    with pytest.raises(SystemExit, match="0"):
        build.main(["--help"])
    assert "--dataset s3ve --manifest nights.csv --out data" in capsys.readouterr().out


def test_no_samples_a_second_are_not_the_usual_number(tmp_path):
    with pytest.raises(UserError, match="eeg_rate 0.0: expected"):
        build.main(["--manifest", "nights.csv", "--out", str(tmp_path), "--eeg-rate", "0"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--manifest", "missing.csv"], "error: manifest missing.csv: no such file"),
        ([], "error: dataset s3ve: expected a manifest and no simulation settings"),
        (["--manifest", "x.csv", "--frame-rate", "0.01"], "error: frame_rate 0.01: expected"),
    ],
)
def test_what_is_wrong_is_one_line(run_python, tmp_path, arguments, expected):
    done = run_python(
        "input_pipeline.build", "--out", str(tmp_path / "data"), *arguments, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(expected)


def test_settings_of_the_simulator_need_the_simulator(capsys):
    with pytest.raises(SystemExit, match="2"):
        build.main(["--manifest", "x.csv", "--out", "data", "--nights", "3"])
    assert "--dataset simulated" in capsys.readouterr().err
