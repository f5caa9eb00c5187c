from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from input_pipeline.simulation import SimulationSettings
from input_pipeline.simulation.ceiling import AT_FRAMES, FULL, HiddenClip, ceiling
from input_pipeline.simulation.recording import hidden_signals, plan, truth

SETTINGS = SimulationSettings(nights=20, hours=0.25, windows=2, seed=9)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Truth files of 20 half hours, and the rows of their clips: 14 subjects train, 6 test."""
    folder = tmp_path_factory.mktemp("truth")
    (folder / "truth").mkdir()
    parts: dict[bool, list] = {False: [], True: []}
    for night in range(SETTINGS.nights):
        for recording in plan(SETTINGS, night):
            np.savez(
                folder / "truth" / f"{recording.night_id}.npz",
                **truth(SETTINGS, recording, hidden_signals(SETTINGS, recording)),
            )
            rows = [(recording.night_id, clip, s) for clip, s in enumerate(recording.scored)]
            parts[night >= 14] += rows
    tables = []
    for test in (False, True):
        night_id, clip_index, stage = zip(*parts[test], strict=True)
        tables.append(
            SimpleNamespace(
                night_id=np.array(night_id),
                clip_index=np.array(clip_index),
                stage=np.array(stage, np.int32),
            )
        )
    return folder, *tables


def some(table: SimpleNamespace, rows) -> SimpleNamespace:
    return SimpleNamespace(**{name: column[rows] for name, column in vars(table).items()})


def test_hidden_signals_tell_more_than_chance_and_less_than_everything(study):
    folder, train, test = study
    predictions = ceiling(folder, train, test)
    # Kappa: the few nights of a test differ much in their stages.
    full, at_frames = (cohen_kappa_score(test.stage, predictions[n]) for n in (FULL, AT_FRAMES))
    assert 0.35 < full < 0.7
    assert 0.15 < at_frames < full + 0.05


def test_the_same_seed_predicts_the_same(study):
    folder, train, test = study
    few, fewer = some(train, slice(0, None, 5)), some(test, slice(90))
    one, two = (ceiling(folder, few, fewer) for _ in range(2))
    for name in one:
        assert one[name].dtype == np.int32 and one[name].shape == (90,)
        np.testing.assert_array_equal(one[name], two[name])


def test_unknown_stages_teach_nothing(study):
    folder, train, test = study
    learned, few = some(train, slice(0, None, 4)), some(test, slice(60))
    unknown = np.arange(len(learned.stage)) % 3 == 0
    marked = SimpleNamespace(**vars(learned) | {"stage": np.where(unknown, -1, learned.stage)})
    without = some(learned, ~unknown)
    one, two = ceiling(folder, marked, few), ceiling(folder, without, few)
    np.testing.assert_array_equal(one[FULL], two[FULL])
    assert one[FULL].min() >= 0


def test_frame_moments_are_those_of_the_camera(study):
    folder, _, _ = study
    recording = plan(SETTINGS, 1)[0]
    with np.load(folder / "truth" / f"{recording.night_id}.npz") as file:
        clip = HiddenClip(dict(file), 7)
    assert len(clip.frame_times) == 60
    assert 0 <= clip.frame_times[0] < 0.5 and clip.frame_times[-1] < 30
    numbers = np.arange(0, int(recording.clocks.video_seconds * 2))
    moments = recording.clocks.psg_time(numbers / 2)
    inside = moments[(moments >= 210) & (moments < 240)] - 210
    np.testing.assert_allclose(clip.frame_times, inside, atol=1e-6)
