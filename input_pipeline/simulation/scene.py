"""The image of a sleeper in bed: pillow, head, body, limbs and blanket as a lit height field."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter, zoom

from input_pipeline.simulation.movement import PARTS
from input_pipeline.simulation.subject import POSTURES, Subject

LEVELS = 250.0
"""Grey level of a white sheet under the lamp."""
BREATH_PIXELS = 1.3
"""How far quiet breathing moves the chest's outline. True to scale in an image about 320 wide;
smaller images exaggerate breathing, which would be lost otherwise."""
BREATH_LEVELS = 2.0
"""How much quiet breathing changes the shade of the flanks, in grey levels."""


@dataclass(frozen=True)
class Camera:
    """Position of the camera, and the noise of its sensor."""

    angle: float
    zoom: float
    shift: tuple[float, float]
    mirror: bool
    """Head at the right instead of the left."""
    flip: bool
    """Camera on the other side of the bed."""
    vignette: float
    """Brightness of the corners relative to the centre: 0.4 to 0.6."""
    noise: float
    """Standard deviation of mid-grey pixels in grey levels."""
    tilt: float
    """Share of a movement towards the ceiling that appears as one up the image."""


@dataclass(frozen=True)
class Pose:
    """How the body lies between two movements; small offsets around a posture."""

    posture: int
    head: tuple[float, float]
    trunk: tuple[float, float]
    legs: tuple[float, float]
    arm: float
    bend: float
    folds: int
    """Seed of the blanket's folds."""
    gain: float
    """Automatic exposure of the camera."""


@dataclass(frozen=True)
class Scene:
    """A still image and its response to breathing and movements; all [height, width]."""

    image: Float[np.ndarray, "height width"]
    chest: Float[np.ndarray, "height width"]
    """Change of the image for a breath of depth 1."""
    abdomen: Float[np.ndarray, "height width"]
    parts: Float[np.ndarray, "parts height width"]
    """How far each pixel moves with each of `PARTS`, 0 to 1."""


def make_camera(rng: np.random.Generator) -> Camera:
    """Draws the camera of one night."""
    return Camera(
        angle=float(rng.normal(0, 0.10)),
        zoom=float(rng.uniform(0.92, 1.1)),
        shift=(float(rng.normal(0, 0.03)), float(rng.normal(0, 0.03))),
        mirror=bool(rng.random() < 0.5),
        flip=bool(rng.random() < 0.5),
        vignette=float(rng.uniform(0.4, 0.6)),
        noise=float(rng.uniform(1.5, 2.5)),
        tilt=float(rng.uniform(0.5, 0.9)),
    )


def draw_pose(rng: np.random.Generator, posture: int, folds: int) -> Pose:
    """Draws the pose in which the body settles after a movement."""
    pair = rng.normal(0, 0.02, size=(3, 2))
    return Pose(
        posture=posture,
        head=tuple(pair[0]),
        trunk=tuple(0.7 * pair[1]),
        legs=tuple(pair[2]),
        arm=float(rng.uniform(0, 1)),
        bend=float(rng.uniform(0.1, 1.0)),
        folds=folds,
        gain=float(1 + 0.02 * rng.normal()),
    )


def _texture(
    rng: np.random.Generator, shape: tuple[int, int], grain: float
) -> Float[np.ndarray, "height width"]:
    """Smooth random pattern of variance about 1; `grain` in image heights."""
    cells = max(int(2 / grain), 3)
    coarse = rng.normal(size=(cells, int(cells * 1.5) + 1))
    scale = (shape[0] / coarse.shape[0], shape[1] / coarse.shape[1])
    fine = zoom(coarse, scale, order=3, mode="nearest", grid_mode=True)
    return fine[: shape[0], : shape[1]]


def _blob(u, v, centre: tuple[float, float], radii: tuple[float, float], sharp: float = 2.0):
    """Height of a cushion: 1 in its middle, 0 outside."""
    r = (((u - centre[0]) / radii[0]) ** 2 + ((v - centre[1]) / radii[1]) ** 2) ** (sharp / 2)
    return np.sqrt(np.clip(1 - r, 0, None))


def _limb(u, v, begin: tuple[float, float], end: tuple[float, float], radius: float):
    """Height of a capsule between two points."""
    along = np.array([end[0] - begin[0], end[1] - begin[1]])
    length = max(float(along @ along), 1e-9)
    t = np.clip(((u - begin[0]) * along[0] + (v - begin[1]) * along[1]) / length, 0, 1)
    gap = ((u - begin[0] - t * along[0]) ** 2 + (v - begin[1] - t * along[1]) ** 2) / radius**2
    return np.sqrt(np.clip(1 - gap, 0, None))


def _soft(u, v, centre: tuple[float, float], radii: tuple[float, float]):
    """A soft-edged mask, 1 in the middle."""
    return np.exp(-((((u - centre[0]) / radii[0]) ** 2 + ((v - centre[1]) / radii[1]) ** 2) ** 1.5))


def render(
    seed: int, subject: Subject, camera: Camera, pose: Pose, height: int, width: int
) -> Scene:
    """Draws a sleeper.

    The bed runs along u (head at 0.15, feet at 1.2) and across v (-0.4 to 0.4), in image heights.

    Args:
        seed: of the night's textures, so that bed and clothes stay the same.
        subject: body size and blanket.
        camera: point of view.
        pose: how the body lies.
        height: pixels.
        width: pixels.
    """
    cloth = np.random.default_rng([seed, 1])
    y, x = np.mgrid[0:height, 0:width].astype(float)
    y, x = (y + 0.5) / height - 0.5, (x + 0.5) / height - width / height / 2
    vignette = 1 - (1 - camera.vignette) * (x**2 + y**2) / (0.25 + (width / height / 2) ** 2)
    across = (-1 if camera.flip else 1) * y
    along = (-1 if camera.mirror else 1) * x
    sine, cosine = np.sin(camera.angle), np.cos(camera.angle)
    u = (cosine * along + sine * across) / camera.zoom + 0.66 - camera.shift[0]
    v = (-sine * along + cosine * across) / camera.zoom - camera.shift[1]

    size = subject.body_size
    side = {"left": 1.0, "right": -1.0}.get(POSTURES[pose.posture], 0.0)
    broad = 0.115 if side else 0.165
    head_at = (0.17 + pose.head[0], 0.04 * side + pose.head[1])
    trunk_at = (0.45 + pose.trunk[0], pose.trunk[1])
    chest_at = (trunk_at[0] - 0.07, trunk_at[1] + 0.02 * side)
    belly_at = (trunk_at[0] + 0.10, trunk_at[1] + 0.02 * side)
    hip = (0.64, trunk_at[1])
    knee = (0.86 + pose.legs[0], 0.14 * pose.bend * (side or 0.4) + pose.legs[1])
    foot = (1.14 - 0.1 * pose.bend, 0.05 * side + pose.legs[1])
    shoulder = (0.32, trunk_at[1] + 0.8 * broad * (side or 1.0))
    hand = (0.33 + 0.22 * pose.arm, trunk_at[1] + (0.10 + 0.12 * (1 - pose.arm)) * (side or 1.3))

    pillow = 0.06 * _blob(u, v, (0.15, 0.0), (0.17, 0.27), sharp=4)
    head = 0.13 * _blob(u, v, head_at, (0.095 * size, 0.08 * size))
    trunk = 0.16 * _blob(u, v, trunk_at, (0.24 * size, broad * size), sharp=2.6)
    legs = 0.10 * np.maximum(
        np.maximum(_limb(u, v, hip, knee, 0.075 * size), _limb(u, v, knee, foot, 0.05 * size)),
        0.9 * _limb(u, v, hip, (foot[0], foot[1] - 0.09), 0.06 * size),
    )
    arm = 0.12 * _limb(u, v, shoulder, hand, 0.042 * size)
    body = np.maximum.reduce([head, trunk, legs])
    edge = 0.42 + 0.22 * cloth.random()  # how far up the blanket is drawn
    covered = 1 / (1 + np.exp(-(u - edge - 0.03 * np.sin(9 * v)) / 0.012))
    folds = _texture(np.random.default_rng([seed, 2, pose.folds]), (height, width), 0.16)
    old_folds = _texture(cloth, (height, width), 0.16)
    blanket = gaussian_filter(body, 0.02 * height) + 0.012 * (0.6 * folds + 0.6 * old_folds) + 0.02
    surface = np.where(covered > 0.5, blanket, np.maximum.reduce([pillow, body]))
    surface = np.maximum(surface, arm)

    weave = _texture(cloth, (height, width), 0.05)
    print_ = _texture(cloth, (height, width), 0.09)
    albedo = 0.62 + 0.015 * weave
    albedo = np.where(pillow > 0.01, 0.78, albedo)
    skin = (head > 0.01) | ((arm > 0.01) & (u > 0.36))
    hair = (head > 0.01) & (u < head_at[0] - 0.02)
    albedo = np.where((trunk > 0.01) | (arm > 0.01), 0.45 + 0.05 * print_, albedo)
    albedo = np.where(covered > 0.5, 0.40 + 0.3 * cloth.random() + 0.05 * print_, albedo)
    albedo = np.where(skin, 0.70, albedo)
    albedo = np.where(hair, 0.25, albedo)
    face = (head_at[0] + 0.03, head_at[1] + 0.035 * (side or 0.2))
    features = _soft(u, v, face, (0.014, 0.02)) + _soft(
        u, v, (face[0] + 0.03, face[1]), (0.01, 0.02)
    )
    albedo = albedo - 0.25 * features * (head > 0.01)

    slope_down, slope_right = np.gradient(gaussian_filter(surface, 0.6) * height)
    light = 0.8 - 0.35 * slope_down - 0.15 * slope_right
    picture = gaussian_filter(albedo * np.clip(light, 0.15, 1.6), 0.5)
    image = LEVELS * pose.gain * vignette * picture

    parts = np.stack(
        [
            _soft(u, v, head_at, (0.14, 0.14)),
            np.exp(-(((v - hand[1]) / 0.09) ** 2) - ((u - hand[0]) / 0.15) ** 2),
            _soft(u, v, trunk_at, (0.30, 0.24)),
            _soft(u, v, (0.90, knee[1] / 2), (0.32, 0.24)),
            _soft(u, v, face, (0.06, 0.06)),
            _soft(u, v, hand, (0.06, 0.06)),
        ]
    )
    assert len(parts) == len(PARTS)
    breathing = []
    seen = subject.blanket * (0.9 if side else 1.0)
    for centre, radii in ((chest_at, (0.13, 0.19)), (belly_at, (0.14, 0.19))):
        mask = _soft(u, v, centre, radii)
        # The outline moves towards the ceiling (up the image) and, of a body on its side, forward.
        down = -camera.tilt * (1.0 if not side else 0.5)
        forward = 0.6 * side * (-1 if camera.flip else 1)
        move = BREATH_PIXELS * max(1.0, width / 320) * mask * seen
        grad_down, grad_right = np.gradient(image)
        shift = -(grad_down * (down + forward) + 0.15 * grad_right) * move
        bulge = np.gradient(mask, axis=0) * height * 0.25
        shade = BREATH_LEVELS * seen * vignette * (0.3 * mask - 0.5 * bulge)
        breathing.append(shift + shade)
    return Scene(image, breathing[0], breathing[1], parts)
