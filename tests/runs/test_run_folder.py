"""The folder of a run belongs to one run."""

import json
from dataclasses import replace

import pytest

from input_pipeline.errors import UserError
from input_pipeline.sampling import Sampling
from sacd_jax.config import EncoderConfig, OptimizerConfig, RunConfig, as_json
from sacd_jax.runs import run_folder
from sacd_jax.runs.run_folder import RunFolder, claim, read_config, read_run

RUN = RunConfig(task="classify", student=EncoderConfig("mlp"))


def test_claim_twice_and_refuse_another_run(tmp_path):
    workdir, data = tmp_path / "run", tmp_path / "data"
    claim(workdir, RUN, data)
    claim(workdir, RUN, data)
    stored = read_config(workdir)
    assert stored["dataset"] == "../data" and stored["run"]["student"]["name"] == "mlp"
    assert (workdir / "versions.json").is_file() and not RunFolder(workdir).finished
    run, dataset = read_run(workdir)
    assert run == RUN and dataset.resolve() == data.resolve()
    other = RunConfig(
        task="classify", student=EncoderConfig("mlp"), optimizer=OptimizerConfig(learning_rate=0.5)
    )
    words = r"holds a run with run.optimizer.learning_rate = 0.001, now it is 0.5; use another"
    with pytest.raises(UserError, match=words):
        claim(workdir, other, data)
    with pytest.raises(UserError, match="holds a run with dataset = '../data'"):
        claim(workdir, RUN, tmp_path / "other")


def test_a_run_of_an_earlier_version_is_still_the_same_run(tmp_path):
    """It lacks what was added since, and says the frames a moment in the network's options, too."""
    run = RunConfig("classify", EncoderConfig("r3d_18"), sampling=Sampling(lags_s=(0, 0.5)))
    claim(tmp_path / "run", run, tmp_path / "data")
    path = tmp_path / "run" / "config.json"
    stored = json.loads(path.read_text())
    del stored["digest"]
    stored["run"]["student"]["options"]["lags"] = 2
    del stored["run"]["log_every_steps"]
    path.write_text(json.dumps(stored))
    claim(tmp_path / "run", run, tmp_path / "data")


def test_claim_clears_what_a_killed_process_left(tmp_path):
    workdir = tmp_path / "run"
    (workdir / "model").mkdir(parents=True)
    (workdir / "model" / ".unfinished-1234-model.safetensors").write_bytes(b"half")
    claim(workdir, RUN, tmp_path / "data")
    assert list((workdir / "model").iterdir()) == []


def test_folders_that_are_no_runs_are_named(tmp_path):
    with pytest.raises(UserError, match="no config.json in .* expected the folder of a run"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="not a JSON object"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="expected an object with the keys dataset and run"):
        read_config(tmp_path)


def test_other_settings_are_refused_before_the_data_are_known(tmp_path):
    run_folder.refuse_other(tmp_path / "run", {"run": as_json(RUN)})
    claim(tmp_path / "run", RUN, tmp_path / "data")
    run_folder.refuse_other(tmp_path / "run", {"run": as_json(RUN)})
    with pytest.raises(UserError, match="holds a run with run.seed = 0, now it is 1"):
        run_folder.refuse_other(tmp_path / "run", {"run": as_json(replace(RUN, seed=1))})


def test_a_changed_setting_is_noticed_and_taken_when_the_digest_is_deleted(tmp_path):
    claim(tmp_path, RUN, tmp_path / "data")
    path = tmp_path / "config.json"
    whole = path.read_text()
    path.write_text(whole.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(UserError, match="is damaged or was changed .* delete the line of its"):
        read_config(tmp_path)
    values = json.loads(path.read_text())
    del values["digest"]
    path.write_text(json.dumps(values))
    assert read_run(tmp_path)[0].seed == 1


@pytest.mark.parametrize(
    "name", ["predictions_test.npz", "metrics.jsonl", "checkpoints/12", "model/model.safetensors"]
)
def test_what_trained_without_saying_so_is_no_folder_for_a_run(tmp_path, name):
    """A run would go on from another's state, or call its predictions its own."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("of another run")
    words = f"has {name.partition('/')[0]} of a run, but no config.json that says which"
    with pytest.raises(UserError, match=words):
        claim(tmp_path, RUN, tmp_path / "data")
    assert not RunFolder(tmp_path).config.exists()


def test_data_are_found_again_from_a_run_behind_a_link(tmp_path):
    """`..` behind a link leads elsewhere: runs/ is often a link to a larger disk."""
    (tmp_path / "disk" / "of" / "runs").mkdir(parents=True)
    (tmp_path / "runs").symlink_to(tmp_path / "disk" / "of" / "runs")
    data = tmp_path / "data" / "s3ve-1"
    data.mkdir(parents=True)
    for _ in range(2):
        claim(tmp_path / "runs" / "one", RUN, data)
    assert read_run(tmp_path / "runs" / "one")[1].resolve() == data.resolve()
