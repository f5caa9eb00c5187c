"""What UCF51 is made of: the 51 classes of UCF101 with sound, their embeddings and their videos.

The benchmark of audio-to-video distillation of yanbeic/CCL. The archive of audio embeddings that
comes with it (one vector of 512 numbers a video, by PANNs Cnn14_emb512) says which videos belong:
6,837 of them, in a folder a class.
"""

import hashlib
import io
import re
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float

from input_pipeline.errors import UserError

EMBEDDING = 512
TEST_GROUPS = range(1, 8)
"""Official split 1 of UCF101 tests on these groups of videos; one group shares scene and people."""

SPLIT_MODE = "official 1"
"""As in CCL, the validation clips are the test clips: never choose by them what is then tested."""

_NAME = re.compile(r"v_\w+_g(\d{2})_c(\d{2})")
_VIDEOS = (".avi", ".mp4", ".mkv", ".webm")
_LARGEST = 1 << 16  # bytes of one stored vector; 2,176 in the published archive


@dataclass(frozen=True)
class Ucf51Settings:
    """What `ucf51` is built from and how frames are stored."""

    embeddings: Path
    """The published archive, `audiocnn14embed512_features.tar.gz`."""
    videos: Path | None = None
    """Folder with UCF101's videos, in any subfolders. None: embeddings alone are stored."""
    height: int = 240
    width: int = 320
    """Of stored frames; UCF101's own. A video of another shape is scaled to cover it and cut."""
    quality: int = 90
    """Of JPEG."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise UserError(f"ucf51 frames of {self.height}x{self.width}: expected 1x1 or more")
        if not 1 <= self.quality <= 95:
            raise UserError(f"ucf51.quality {self.quality}: expected 1 to 95")


@dataclass(frozen=True)
class Video:
    """One video of the benchmark."""

    video_id: str
    """The file's name without its ending: `v_Archery_g01_c02`."""
    class_name: str
    """Folder in the archive. Files of HandstandPushups are named v_HandStandPushups_…: a label
    never comes from a file's name."""
    embedding: Float[np.ndarray, " dim"]
    path: Path | None = None

    @property
    def group(self) -> int:
        """Group of the class, 1 to 25."""
        return int(_parsed(self.video_id)[1])

    @property
    def clip(self) -> int:
        """Number within the group."""
        return int(_parsed(self.video_id)[2])

    @property
    def subject_id(self) -> str:
        """The group by name: what videos of one scene have in common."""
        return f"{self.class_name}_g{self.group:02d}"

    @property
    def split(self) -> str:
        """`train` or `test` by official split 1."""
        return "test" if self.group in TEST_GROUPS else "train"


def _parsed(video_id: str) -> re.Match[str]:
    match = _NAME.fullmatch(video_id)
    if match is None:
        raise UserError(f"video {video_id!r}: expected a name like v_Archery_g01_c02")
    return match


def class_names(videos: list[Video]) -> tuple[str, ...]:
    """The classes in label order: folder names of the archive, sorted."""
    return tuple(sorted({video.class_name for video in videos}))


def read_archive(path: Path) -> list[Video]:
    """Reads the archive of embeddings, sorted by video; writes and unpickles nothing.

    Names in the archive are only looked at, so none can lead out of a folder. What macOS left in
    it (`._…`) is passed over.

    Raises:
        UserError: no such file, no such archive, or a member that is no embedding of UCF101.
    """
    found: dict[str, Video] = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if not member.isfile() or name.name.startswith("._") or name.suffix != ".npy":
                    continue
                if member.size > _LARGEST:
                    raise UserError(f"{path.name}: {name.name} has {member.size} bytes, no vector")
                content = archive.extractfile(member)
                assert content is not None  # it is a file
                vector = _vector(content.read(), f"{path.name}: {name.name}")
                _parsed(name.stem)
                if name.stem in found:
                    raise UserError(f"{path.name}: {name.stem} is there twice")
                found[name.stem] = Video(name.stem, name.parent.name, vector)
    except FileNotFoundError:
        raise UserError(f"embedding archive {path}: no such file") from None
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise UserError(f"embedding archive {path}: cannot be read ({error})") from None
    if not found:
        raise UserError(f"embedding archive {path}: holds no embeddings (CLASS/v_….npy)")
    return [found[name] for name in sorted(found)]


def _vector(content: bytes, where: str) -> Float[np.ndarray, " dim"]:
    try:
        vector = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(f"{where}: no NumPy array ({error})") from None
    if vector.shape != (EMBEDDING,) or vector.dtype.kind != "f" or not np.isfinite(vector).all():
        raise UserError(
            f"{where}: {vector.dtype} {list(vector.shape)}; expected {EMBEDDING} finite numbers"
        )
    return vector.astype(np.float32)


def with_paths(videos: list[Video], folder: Path) -> list[Video]:
    """The same videos with their files, which may lie in any subfolder.

    Raises:
        UserError: no such folder, or videos are missing; says how many and the first.
    """
    if not folder.is_dir():
        raise UserError(f"folder of UCF101 videos {folder}: no such folder")
    # Copies of UCF101 differ in the capitals of HandstandPushups.
    files = {
        path.stem.lower(): path
        for path in sorted(folder.rglob("v_*"))
        if path.suffix.lower() in _VIDEOS
    }
    missing = [video.video_id for video in videos if video.video_id.lower() not in files]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of {len(videos)} videos are missing, the first is "
            f"{missing[0]}; expected the videos of UCF101, in any subfolders"
        )
    return [
        Video(video.video_id, video.class_name, video.embedding, files[video.video_id.lower()])
        for video in videos
    ]


def description(settings: Ucf51Settings, videos: list[Video]) -> dict:
    """What the dataset depends on, without the place of its files."""
    vectors = hashlib.sha256(b"".join(video.embedding.tobytes() for video in videos)).hexdigest()
    names = [[video.class_name, video.video_id] for video in videos]
    if settings.videos is None:
        return {"vectors": vectors, "names": names}
    sizes = [video.path.stat().st_size for video in videos if video.path is not None]
    form = [settings.height, settings.width, settings.quality]
    return {"vectors": vectors, "names": names, "sizes": sizes, "form": form}
