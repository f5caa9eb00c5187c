"""The demo with a student that sees every stored frame: 60 over the 30 s, as a breath moves them.

    python -m sacd_jax.train --config configs/rhythm.py --workdir runs/rhythm

The demo's student sees 16 moments two seconds apart, in which no breath can be followed. This one
has the same layers on the frames less their mean, without differences of neighbours; its first
temporal kernel reaches over a breath: `configs/rhythm.py:taps=9` is 9 frames, 4.5 s, and 3 is that
of the demo's student. 12 passes in place of 20. `configs/rhythm.py:miniature` goes the same way
with toy sizes; its figures mean nothing.
"""

from dataclasses import replace

from configs import demo
from input_pipeline.sampling import Sampling
from sacd_jax.config import Experiment, RunConfig


def get_config(size: str = "full", seed: int = 0, taps: int = 3) -> Experiment:
    """The experiment.

    Args:
        size: full or miniature.
        seed: of nights, split and trainings.
        taps: frames under the first temporal kernel, an odd number.
    """
    experiment = demo.get_config(size, seed)
    students = {name: dense(experiment.runs[name], taps) for name in ("baseline", "sacd")}
    return replace(experiment, runs={**experiment.runs, **students})


def dense(run: RunConfig, taps: int) -> RunConfig:
    """The run with a student on all 60 frames of a clip."""
    options = {**run.student.options, "video_input": "centered", "stem_taps": (taps, 7)}
    return replace(
        run,
        student=replace(run.student, options=options),
        sampling=Sampling(moments=60, lags_s=(0.0,)),
        passes=min(run.passes, 12.0),
    )
