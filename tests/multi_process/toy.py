"""An experiment of seconds: a teacher and a student that learns from it, on made-up clips."""

from dataclasses import replace
from pathlib import Path

from input_pipeline.datasets.settings import DatasetSettings
from input_pipeline.sampling import Sampling
from sacd_jax.config import (
    EncoderConfig,
    Experiment,
    ObjectiveConfig,
    OptimizerConfig,
    RunConfig,
)
from tests.input_pipeline.fake_nights import SETTINGS


def get_config(manifest: str = "nights.csv", network: str = "mlp") -> Experiment:
    """The experiment.

    Args:
        manifest: of a `fake_nights.fake_dataset`.
        network: the student's; mlp, or r2plus1d_small, which takes long to compile and whose
            BatchNorm, beside SACD's graphs, looks at the clips of all processes.
    """
    options = {"clips_per_graph": 4, "bank_size": 24, "hardest": 8}
    weights = {}
    if network == "r2plus1d_small":
        student = EncoderConfig(network, {"stem_patch": 2, "embedding_dim": 12})
        options["graph"] = {"message_dim": 8, "update_dim": 8, "graph_dim": 8}
    else:
        student = EncoderConfig("mlp", {"input_key": "video", "width": 8, "embedding_dim": 12})
        weights = {"graph": 0.0}
    teacher = RunConfig(
        task="classify",
        student=EncoderConfig("mlp", {"width": 8, "embedding_dim": 12}),
        sampling=Sampling(moments=4),
        batch_size=16,
        passes=2.0,
        log_every_steps=1,
        optimizer=OptimizerConfig(learning_rate=1e-4),  # its input are microvolts, far from 1
    )
    sacd = replace(
        teacher,
        task="distill",
        student=student,
        optimizer=OptimizerConfig(learning_rate=0.01),
        teacher=EncoderConfig("mlp", pretrained="teacher"),
        teacher_cache=True,
        objective=ObjectiveConfig("sacd", options, weights),
    )
    dataset = DatasetSettings("s3ve", manifest=Path(manifest), clips=SETTINGS)
    return Experiment(dataset, {"teacher": teacher, "sacd": sacd})
