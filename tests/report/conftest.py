"""Synthetic run directories: eight test subjects, a hundred clips each, plausible errors."""

import json
from pathlib import Path

import numpy as np
import pytest

from input_pipeline.digests import write_verified_json

STAY = 0.92
# What a stager that is not sure takes a stage for: rows truth, columns W, N1, N2, N3, REM.
SLIP = np.array(
    [
        [0.0, 0.5, 0.3, 0.0, 0.2],
        [0.3, 0.0, 0.5, 0.0, 0.2],
        [0.2, 0.3, 0.0, 0.3, 0.2],
        [0.0, 0.0, 1.0, 0.0, 0.0],
        [0.2, 0.3, 0.5, 0.0, 0.0],
    ]
)


class Night:
    """Truth of a small test set."""

    def __init__(self, subjects: int = 8, clips: int = 100, seed: int = 0, stages=(0, 1, 2, 3, 4)):
        rng = np.random.default_rng(seed)
        share = np.array([0.3, 0.08, 0.36, 0.14, 0.12])[list(stages)]
        self.subject_id = np.repeat([f"S{at + 1:02d}" for at in range(subjects)], clips)
        self.night_id = np.char.add(self.subject_id, "_1")
        # each subject's window lies somewhere in the night and has a hole of five clips
        index = np.arange(clips) + 5 * (np.arange(clips) >= 40)
        self.clip_index = np.concatenate([index + rng.integers(0, 900) for _ in range(subjects)])
        self.ahi = np.repeat(np.resize([2.0, 9.0, 21.0, 48.0], subjects), clips)
        stage = np.empty(subjects * clips, int)
        for at in range(len(stage)):
            fresh = at % clips == 0 or rng.random() > STAY
            stage[at] = rng.choice(stages, p=share / share.sum()) if fresh else stage[at - 1]
        stage[rng.random(len(stage)) < 0.01] = -1
        self.stage = stage


def predict(night: Night, skill: float, seed: int, spread: float = 0.05) -> np.ndarray:
    """Predicted stages: right with probability about `skill`, which differs between subjects."""
    rng = np.random.default_rng(seed)
    subjects, at = np.unique(night.subject_id, return_inverse=True)
    skills = np.clip(skill + spread * rng.normal(size=len(subjects)), 0, 1)[at]
    slip = np.array([rng.choice(5, p=SLIP[max(stage, 0)]) for stage in night.stage])
    return np.where(rng.random(len(slip)) < skills, np.maximum(night.stage, 0), slip)


def curves(skill: float, steps: int, seed: int, graphs: bool) -> list[dict]:
    """Log lines of a training that settles at `skill`."""
    rng = np.random.default_rng(seed)
    lines = []
    for step in range(5, steps + 1, 5):
        done = 1 - np.exp(-3.5 * step / steps)
        line = {
            "step": step,
            "pass": step // 50,
            "split": "train",
            "cross_entropy": 1.6 - 1.3 * skill * done + 0.06 * rng.normal(),
            "clips_per_second": 180.0,
            "data_wait": 0.02,
        }
        line["loss"] = line["cross_entropy"]
        if graphs:
            line["graph_distance_positive"] = 1.0 - 0.35 * done + 0.03 * rng.normal()
            line["graph_distance_negative"] = 1.0 + 0.25 * done + 0.03 * rng.normal()
            line["loss"] += 1.1
        lines.append(line)
        if step % 50 == 0:
            accuracy = 0.3 + (skill - 0.3) * done + 0.015 * rng.normal()
            lines.append(
                {
                    "step": step,
                    "split": "validation",
                    "accuracy": accuracy,
                    "macro_f1": accuracy - 0.08,
                }
            )
    return lines


def write_run(
    folder: Path, night: Night, skill: float, seed: int, *, steps: int = 800, graphs: bool = False
) -> Path:
    """Writes a run directory as a training leaves it."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(night.stage), 5)).astype(np.float32)
    logits[np.arange(len(logits)), predict(night, skill, seed)] += 8
    np.savez(
        folder / "predictions_test.npz",
        logits=logits,
        embedding=rng.normal(size=(len(logits), 4)).astype(np.float32),
        index=np.arange(len(logits), dtype=np.int32),
        stage=night.stage.astype(np.int32),
        night_id=night.night_id,
        subject_id=night.subject_id,
        clip_index=night.clip_index.astype(np.int32),
        ahi=night.ahi.astype(np.float32),
    )
    lines = curves(skill, steps, seed, graphs)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.json").write_text(json.dumps({"name": folder.name, "seed": seed}))
    times = {"train": 90.0, "compile": 10.0}
    start = {"began": 1e9, "first_step": 0, "last_step": steps, "seconds": times}
    write_verified_json(folder / "goodput.json", {"starts": [start]})
    (folder / "versions.json").write_text(json.dumps({"jax": "0.12.0", "python": "3.12"}))
    return folder


@pytest.fixture(scope="session")
def night() -> Night:
    """Eight subjects, a hundred clips each."""
    return Night()


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, night: Night) -> dict[str, Path]:
    """Run directories of a demo: teacher, baseline, SACD."""
    root = tmp_path_factory.mktemp("runs")
    return {
        "EEG teacher": write_run(root / "teacher", night, 0.82, 1, steps=600),
        "video baseline": write_run(root / "baseline", night, 0.52, 2),
        "video with SACD": write_run(root / "sacd", night, 0.55, 3, graphs=True),
    }


@pytest.fixture(scope="session")
def ceiling(night: Night) -> dict[str, np.ndarray]:
    """Predictions from hidden signals."""
    return {
        "hidden signals": predict(night, 0.72, 11),
        "hidden signals at frame times": predict(night, 0.62, 12),
    }


DATASET_INFO = {
    "simulated": True,
    "split_mode": "subject",
    "frame_rate": 2.0,
    "height": 48,
    "width": 64,
    "counts": {
        "train": {"subjects": 12, "clips": 2100},
        "test": {"subjects": 8, "clips": 800},
    },
    "fingerprint": "5f0c1d",
}
