"""The folder of a run belongs to one run; a run stops at the end of a step."""

import os
import signal

import pytest

from input_pipeline.errors import UserError
from sacd_jax.config import EncoderConfig, OptimizerConfig, RunConfig
from sacd_jax.runs.run_folder import claim, read_config, stop_request

RUN = RunConfig(task="classify", student=EncoderConfig("mlp"))


def test_claim_twice_and_refuse_another_run(tmp_path):
    workdir, data = tmp_path / "run", tmp_path / "data"
    claim(workdir, RUN, data)
    claim(workdir, RUN, data)
    stored = read_config(workdir)
    assert stored["dataset"] == "../data" and stored["run"]["student"]["name"] == "mlp"
    assert (workdir / "versions.json").is_file()
    other = RunConfig(
        task="classify", student=EncoderConfig("mlp"), optimizer=OptimizerConfig(learning_rate=0.5)
    )
    words = r"holds a run with run.optimizer.learning_rate = 0.001, now it is 0.5; use another"
    with pytest.raises(UserError, match=words):
        claim(workdir, other, data)
    with pytest.raises(UserError, match="holds a run with dataset = '../data'"):
        claim(workdir, RUN, tmp_path / "other")


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
    with pytest.raises(UserError, match="is not JSON"):
        read_config(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_asks_second_interrupts(number, capsys):
    before = signal.getsignal(number)
    with stop_request() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
    assert "saving the state" in capsys.readouterr().err
