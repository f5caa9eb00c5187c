"""Table IV of the paper: both modalities, fused (A to D) and distilled from video to EEG (E to G).

    python -m sacd_jax.sweep --config configs/sweeps/table4.py --workdir runs/tables \\
        --config.dataset.manifest=nights.csv

The rows are the experiments of `s3ve_fusion` and `s3ve_reverse`, which start from the networks
`video` and `eeg`, trained once. `configs/sweeps/table4.py:size=demo` does so at demo size on
simulated nights.
"""

from dataclasses import replace

from configs import s3ve_fusion, s3ve_reverse
from configs.sweeps.settings import of_size
from sacd_jax.config import RunConfig
from sacd_jax.sweeps.sweep_config import Row, SweepConfig

ALONE = "EEG only, AttnSleep"


def get_config(size: str = "paper") -> SweepConfig:
    """The sweep; `size` is paper or demo."""
    shared = of_size(size)

    def sized(run: RunConfig) -> RunConfig:
        if size == "paper":
            return run
        as_baseline = ("passes", "evaluate_every_passes", "checkpoint_every_passes")
        changes = {name: getattr(shared.baseline, name) for name in as_baseline}
        if run.objective is not None:
            options = shared.options.get(run.objective.name, {})
            changes["objective"] = replace(run.objective, options=dict(options))
        decay = shared.baseline.key_encoder_decay
        return replace(run, key_encoder_decay=decay, **changes)

    _, video, eeg = s3ve_reverse.two_modalities(size)
    video = sized(video)
    rows = {
        "baseline" if size == "demo" else "r3d": Row("video only, R3D", video),
        "attnsleep-alone": Row(ALONE, eeg),
    }
    for module in (s3ve_fusion, s3ve_reverse):
        for letter in module.EXPERIMENTS:
            run = module.get_config(letter, size).runs[letter]
            rows[f"both-{letter}"] = Row(letter.upper(), sized(run))
    return SweepConfig(
        name="table4",
        title="Table IV: both modalities",
        dataset=shared.dataset,
        rows=rows | shared.rivals,
        teachers={"video": video, "eeg": eeg},
        reference=ALONE,
        paper="table4",
        notes=(
            *shared.notes,
            "A, B: fully connected layers (one, three) over both frozen networks; C, D: the same, "
            "all trained. E: SACD from the frozen video network to EEG; F: the video network "
            "trains, too; G: as F with CCL. E to G see EEG alone at test.",
        ),
    )
