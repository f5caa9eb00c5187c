"""A toy UCF51: an archive of embeddings and AVI files with names as in UCF101."""

import io
import tarfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CLASSES = ("Archery", "HandstandPushups", "Typing")
GROUPS = (1, 7, 8, 25)
HEIGHT, WIDTH = 24, 32


def video_id(class_name: str, group: int, clip: int = 1) -> str:
    """As in UCF101, where the files of one class are spelt otherwise than its folder."""
    return f"v_{class_name.replace('stand', 'Stand')}_g{group:02d}_c{clip:02d}"


def frame_count(class_name: str, group: int) -> int:
    """Some are shorter than a window of 16 frames."""
    return 10 + 3 * CLASSES.index(class_name) + group


def write_avi(path: Path, frames: int, height: int = HEIGHT, width: int = WIDTH) -> None:
    """Frame i has the grey level 5 i on the left, the right is red; coded with B-frames."""
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.max_b_frames = 2
        stream.codec_context.qmin = stream.codec_context.qmax = 2
        for i in range(frames):
            pixels = np.full((height, width, 3), (200, 20, 20), np.uint8)
            pixels[:, : width // 2] = 5 * i
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def embedding(class_name: str, group: int) -> np.ndarray:
    """Tells the class."""
    noise = np.random.default_rng(group).random(512)
    return (noise + 2 * (np.arange(512) % 3 == CLASSES.index(class_name))).astype(np.float32)


def write_archive(path: Path) -> None:
    """The archive as published: folders, and what macOS leaves in them."""
    with tarfile.open(path, "w:gz") as archive:
        add(archive, "._features", b"Mac OS X")
        for class_name in reversed(CLASSES):  # in no order
            folder = tarfile.TarInfo(f"features/{class_name}")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
            for group in GROUPS:
                name = video_id(class_name, group)
                add(archive, f"features/{class_name}/._{name}.npy", b"Mac OS X")
                add(
                    archive,
                    f"features/{class_name}/{name}.npy",
                    npy(embedding(class_name, group)),
                )


def write_videos(folder: Path) -> None:
    """A folder a class, as UCF101 comes; and one class that does not belong."""
    for class_name in CLASSES:
        (folder / class_name).mkdir(parents=True)
        for group in GROUPS:
            path = folder / class_name / f"{video_id(class_name, group)}.avi"
            write_avi(path, frame_count(class_name, group))
    (folder / "Billiards").mkdir()
    (folder / "Billiards" / "v_Billiards_g01_c01.avi").write_bytes(b"never opened")
