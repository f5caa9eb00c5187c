import numpy as np

from input_pipeline.alignment.sidecar import frame_times, write_frame_times
from input_pipeline.readers.sync import Clock


def test_frame_times_are_those_of_the_psg_without_its_pauses(tmp_path):
    video = np.array([0.0, 10.0, 20.0, 30.0, 40.0])
    times = frame_times(video, Clock(-5.0, 1000.0), gaps=[(6.0, 18.0), (30.0, 31.0)])
    # PSG: -5, 5.01, 15.02 (in the pause), 25.03, 35.04
    np.testing.assert_allclose(times, [-5.0, 5.01, 6.0, 13.03, 22.04])
    write_frame_times(tmp_path / "n_frame_times.npy", times)
    np.testing.assert_array_equal(np.load(tmp_path / "n_frame_times.npy"), times)
