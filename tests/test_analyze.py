"""The command, on runs trained for a moment on made-up clips of twelve subjects."""

import csv
import json
import os
from pathlib import Path

import pytest

from input_pipeline.errors import UserError
from input_pipeline.sampling import Sampling
from sacd_jax import analyze
from sacd_jax.config import EncoderConfig, OptimizerConfig, RunConfig
from sacd_jax.runs import predictions
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.training import loop
from tests.input_pipeline.fake_nights import fake_dataset

MLP = {"input_key": "video", "width": 8, "embedding_dim": 12}
NAMES = ("baseline", "sacd")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    dataset = fake_dataset(folder)
    for seed, name in enumerate(NAMES):
        run = RunConfig(
            "classify",
            EncoderConfig("mlp", MLP),
            sampling=Sampling(moments=4),
            batch_size=16,
            seed=seed,
            passes=1.0,
            optimizer=OptimizerConfig(learning_rate=0.01),
        )
        loop.train(run, folder / name, dataset)
    described = {
        "dataset": os.path.relpath(dataset, folder),
        "nights": None,
        "runs": [*NAMES, "later"],
    }
    (folder / "experiment.json").write_text(json.dumps(described))
    return folder


def written(experiment: Path, out: Path, *arguments: str) -> dict[str, list[dict[str, str]]]:
    """Runs the command; every picture there is whole. Returns the tables."""
    tables = out.glob("*.csv")
    analyze.main(["--workdir", str(experiment), *arguments, "--out", str(out)])
    pictures = {path.stem for path in out.glob("*.png")}
    assert pictures and pictures == {path.stem for path in out.glob("*.svg")}
    for path in out.glob("*.svg"):
        assert path.read_text().rstrip().endswith("</svg>")
    return {path.stem: list(csv.DictReader(path.read_text().splitlines())) for path in tables}


def test_ahi_predicts_what_is_missing_and_writes_shares_and_channels(experiment, tmp_path) -> None:
    (experiment / "sacd" / "predictions_train.npz").unlink(missing_ok=True)
    tables = written(experiment, tmp_path, "ahi", "--permutations", "20")
    assert (experiment / "sacd" / "predictions_train.npz").exists()
    assert not (experiment / "baseline" / "predictions_train.npz").exists()
    shares = {float(row["passing_permuted_mean"]) for row in tables["ahi"]}
    assert shares and all(0 <= share <= 1 for share in shares)
    of_a_stage = [row for row in tables["ahi_channels"] if row["target"] == "AHI level"]
    assert len(of_a_stage) == 12 * len({row["stage"] for row in tables["ahi"]})


def test_tsne_draws_the_clips_that_it_is_told(experiment, tmp_path) -> None:
    tables = written(experiment, tmp_path, "tsne", "--splits", "test", "--points", "9")
    assert set(tables) == {"tsne_subjects", "tsne_nights", "tsne_stages"}
    assert [row["run"] for row in tables["tsne_stages"]] == ["baseline"] * 9 + ["sacd"] * 9


def test_confusions_count_every_scored_clip_of_runs_of_any_folder(experiment, tmp_path) -> None:
    alone = ["--workdir", str(experiment / "baseline"), "confusions", "--runs", "baseline"]
    analyze.main([*alone, "--out", str(tmp_path / "one")])
    tables = written(experiment, tmp_path / "two", "confusions")
    said = predictions.read("sacd", RunFolder(experiment / "sacd").predictions("test"))
    counted = [row for row in tables["confusions"] if row["run"] == "sacd"]
    assert sum(int(row["clips"]) for row in counted) == (said.stage >= 0).sum()
    one = list(csv.DictReader((tmp_path / "one" / "confusions.csv").read_text().splitlines()))
    assert one == [row for row in tables["confusions"] if row["run"] == "baseline"]


def test_errors_show_no_frame_unless_asked_for(experiment, tmp_path, monkeypatch) -> None:
    drawn: list[int] = []
    whole = analyze.write_figure

    def counting(folder, name, figure, *rest):
        axes = [axes for part in figure.subfigs for axes in part.axes]
        drawn.append(sum(len(one.images) for one in axes))
        return whole(folder, name, figure, *rest)

    monkeypatch.setattr(analyze, "write_figure", counting)
    tables = written(experiment, tmp_path / "without", "errors")
    assert drawn and not any(drawn)
    rows = tables["errors"]
    assert rows and set(rows[0]) > {"kind", "truth", "baseline", "sacd_probability"}
    for row in rows:
        assert (row["sacd"] == row["truth"]) == (row["kind"] == "corrected")
    drawn.clear()
    written(experiment, tmp_path / "with", "errors", "--show-frames")
    assert drawn and all(drawn)


def test_a_figure_has_the_same_bytes_again(experiment, tmp_path) -> None:
    written(experiment, tmp_path / "one", "confusions")
    written(experiment, tmp_path / "two", "confusions")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ahi", "--runs", "scad"], "run 'scad' is not there: did you mean 'sacd'?"),
        (["ahi", "--runs", "later"], "run 'later' is not finished: train it to its end first"),
        (["errors", "--runs", "sacd"], "errors compares two runs, found only 'sacd'"),
        (["ahi", "--splits", "validation"], "run 'sacd': 4 subjects with a known AHI in valida"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(experiment, tmp_path, arguments, words) -> None:
    with pytest.raises(UserError) as error:
        analyze.main(["--workdir", str(experiment), *arguments, "--out", str(tmp_path)])
    assert str(error.value).startswith(words) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "not a JSON object"),
        ("{", "not a JSON object"),
        ('{"runs": 3}', "expected an object with the names of runs"),
        ('{"runs": ["sacd"], "digest": "0"}', "is damaged or was changed"),
    ],
)
def test_a_damaged_description_is_one_line(tmp_path, content: str, words: str) -> None:
    (tmp_path / "experiment.json").write_text(content)
    with pytest.raises(UserError, match=words):
        analyze.main(["--workdir", str(tmp_path), "confusions"])


def test_splits_are_names_of_splits(experiment, capsys) -> None:
    for wrong in ("tset", "test,test"):
        with pytest.raises(SystemExit, match="2"):
            analyze.main(["--workdir", str(experiment), "ahi", "--splits", wrong])
    assert "expected some of train, validation, test" in capsys.readouterr().err
