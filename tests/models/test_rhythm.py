"""The branch of breathing and movement: what its figures know, and that they are always there."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from scipy import signal

from input_pipeline.errors import UserError
from sacd_jax.models import rhythm
from sacd_jax.models.rhythm import rhythm_features
from sacd_jax.models.video_resnet import VideoResNet

MOMENTS, STEP = 59, 0.5


def clip(wave, *, twitch: int = 0, seed: int = 0, pixels: tuple[int, int] = (40, 48)) -> np.ndarray:
    """Frames in [0, 1] of a breathing chest on noise, and so many twitches of a hand; differences
    of it, [1, moments, height, width, 1]."""
    rng = np.random.default_rng(seed)
    frames = 100 + rng.normal(0, 1, (MOMENTS + 1, *pixels))
    frames[:, 8:32, 8:32] += 6 * np.asarray(wave)[:, None, None]
    for at in rng.choice(MOMENTS + 1, twitch, replace=False):
        frames[at, 2:6, 40:44] += 40
    return np.diff(frames, axis=0)[None, ..., None].astype(np.float32) / 255


def breathing(change: np.ndarray) -> dict[str, np.ndarray]:
    """The figures of `_breathing` by name."""
    signals = rhythm._squares(255 * jnp.asarray(change)[..., 0])
    names = ("depth", "share", "rate", "spread", "peaks", "depths", "rates", "pieces", "later")
    found = rhythm._breathing(signals)
    return dict(zip(names, map(np.asarray, found), strict=True))


def times() -> np.ndarray:
    return STEP * np.arange(MOMENTS + 1)


@pytest.mark.parametrize("per_minute", [9, 15, 24])
def test_the_rate_and_the_regularity_of_breathing_are_seen(per_minute):
    steady = breathing(clip(np.sin(2 * np.pi * per_minute / 60 * times())))
    turn = 2 * np.pi * per_minute / 60 * STEP
    assert steady["rate"].item() == pytest.approx(turn, rel=0.05)
    spectrum = rhythm._waves(MOMENTS)[0].shape[0]
    low = round(0.12 * 128 * STEP) // 2
    at = round(float(steady["peaks"][0, 1]) * spectrum) + low
    assert at / 128 / STEP * 60 == pytest.approx(per_minute, abs=1)
    pace = per_minute / 60 * (1 + 0.4 * np.sin(2 * np.pi * times() / 11))
    uneven = breathing(clip(np.sin(2 * np.pi * np.cumsum(pace) * STEP)))
    assert uneven["spread"] > 1.5 * steady["spread"]
    assert uneven["peaks"][0, 0] < steady["peaks"][0, 0]  # how sharp the spectrum is


def test_a_pause_of_breathing_is_seen():
    wave = np.sin(2 * np.pi * 0.25 * times())
    paused = np.where(times() < 15, wave, 0)
    through, stopped = breathing(clip(wave)), breathing(clip(paused))
    assert stopped["depths"][0, 1] < 0.5 * through["depths"][0, 1]
    assert stopped["pieces"][0, 0] < through["pieces"][0, 0]


def test_the_strongest_signal_is_the_first_principal_component():
    rng = np.random.default_rng(1)
    signals = rng.normal(size=(3, 40, 7)) + 3 * rng.normal(size=(3, 40, 1)) * rng.normal(size=7)
    wave, share = rhythm._strongest(jnp.asarray(signals, jnp.float32))
    for found, part, own in zip(wave, share, signals, strict=True):
        left, size, _ = np.linalg.svd(own, full_matrices=False)
        expected = left[:, 0] * size[0] / np.sqrt(7)
        np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)
        assert part.item() == pytest.approx(size[0] ** 2 / (size**2).sum(), rel=1e-4)


def test_the_quarter_turned_wave_is_scipys():
    wave = np.random.default_rng(0).normal(size=MOMENTS)
    wave -= wave.mean()
    expected = signal.hilbert(wave).imag
    np.testing.assert_allclose(rhythm._quarter_later(MOMENTS) @ wave, expected, atol=1e-5)


def test_the_mean_of_nine_is_scipys():
    from scipy.ndimage import uniform_filter

    x = np.random.default_rng(0).normal(size=(2, 3, 8, 9)).astype(np.float32)
    expected = uniform_filter(x, (0, 0, 3, 3), mode="nearest")
    np.testing.assert_allclose(rhythm._mean_of_nine(jnp.asarray(x)), expected, atol=1e-6)


def test_twitches_of_a_hand_are_counted_and_are_no_breathing():
    wave = np.sin(2 * np.pi * 0.25 * times())

    def share(change: np.ndarray) -> float:
        return float(rhythm._places(255 * jnp.asarray(change)[..., 0])[-1][0, 1])

    few, more = clip(wave, twitch=2), clip(wave, twitch=6)
    assert share(clip(wave)) == 0 and share(more) > share(few) > 0
    assert breathing(few)["rate"].item() == pytest.approx(2 * np.pi * 0.25 * STEP, rel=0.05)


def test_a_mirrored_clip_has_the_same_figures():
    change = clip(np.sin(times()), twitch=3)
    mirrored = jnp.asarray(np.concatenate([change, change[:, :, :, ::-1]]))
    both = jax.jit(rhythm_features)(mirrored)
    np.testing.assert_allclose(both[0], both[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("moments", "pixels"), [(12, (4, 6)), (60, (43, 51))])
def test_figures_are_finite_whatever_is_filmed(moments, pixels):
    still, noise, flash = np.zeros((3, moments, *pixels, 1), np.float32)
    noise += np.random.default_rng(0).normal(size=noise.shape)
    flash[5], flash[6] = 1, -1
    found = np.asarray(jax.jit(rhythm_features)(jnp.stack([still, noise, flash])))
    assert found.shape[0] == 3 and np.isfinite(found).all()


def test_they_are_exported_for_any_number_of_clips():
    change = clip(np.sin(times()), pixels=(16, 16))
    (clips,) = export.symbolic_shape("clips")
    shape = jax.ShapeDtypeStruct((clips, *change.shape[1:]), jnp.float32)
    program = export.export(jax.jit(rhythm_features))(shape)
    both = jnp.asarray(np.repeat(change, 2, axis=0))
    np.testing.assert_allclose(program.call(both), rhythm_features(both), rtol=1e-4, atol=1e-5)


def test_a_network_reads_them_beside_its_last_stage():
    options = {"video_input": "differences", "lags": 2, "stem_patch": 8, "stem_channels": None}
    options |= {"blocks": (1,), "widths": (4,), "pool": False, "embedding_dim": 8}
    video = np.random.default_rng(0).integers(0, 255, (2, 2 * 12, 16, 16, 1), dtype=np.uint8)
    batch = {"video": jnp.asarray(video)}

    def begin(**more):
        network = VideoResNet(5, **options, **more)
        return network, partial(network.init, jax.random.key(0), train=False)

    (_, init_plain), (network, init) = begin(), begin(rhythm=16)
    shapes = jax.eval_shape(init, batch)["params"]
    without = jax.eval_shape(init_plain, batch)["params"]
    assert set(shapes) - set(without) == {"rhythm", "rhythm_norm"}
    assert shapes["rhythm"]["kernel"].shape[1] == 16

    @jax.jit
    def gradients(batch):
        variables = init(batch)

        def loss(params):
            whole = {**variables, "params": params}
            result, _ = network.apply(whole, batch, train=True, mutable=["batch_stats"])
            return result.logits[0, 0]

        return jax.grad(loss)(variables["params"])

    found = gradients(batch)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert np.abs(found["rhythm"]["kernel"]).max() > 0


def test_a_clip_of_few_moments_has_no_rhythm():
    with pytest.raises(UserError, match="a clip of 11 moments .* expected 12 or more"):
        rhythm_features(jnp.zeros((1, 11, 8, 8, 1)))


def test_a_network_of_frames_has_no_such_branch():
    network = VideoResNet(5, rhythm=16)
    batch = {"video": jnp.zeros((1, 4, 16, 16, 1), jnp.uint8)}
    with pytest.raises(UserError, match="rhythm 16 with video_input 'frames': expected difference"):
        network.init(jax.random.key(0), batch, train=False)
