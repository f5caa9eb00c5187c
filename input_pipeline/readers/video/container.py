"""Opening a video without trust: which containers, which stream, which word on its start."""

import math
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from input_pipeline.errors import UserError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

MAX_PIXELS = 8192 * 8192
_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,mpeg,mpegts,mxf,flv,ogg,wtv,dv,nut,ivf,dhav"
)
"""Containers that hold a video themselves. Playlists (hls, concat, dash) are none: they open
further files."""

_BARE = "h264,hevc,m4v,mpegvideo,mjpeg,mjpeg_2000,vc1,obu,cavsvideo,dirac"
"""Streams outside any container: nothing in them says when a picture was taken."""

# Cover pictures stand among the video streams of a container.
_PICTURES = {"png", "bmp", "gif", "webp", "tiff", "ansi", "ppm"}

_FIRST_PACKETS = 1000
_FIRST_YEAR = 1990  # of digital video; the zero of many clocks is 1904 or 1970

_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": _DEMUXERS,
    # FFmpeg takes a recorder's restart for a wrap of the 33-bit clock and adds a day.
    "correct_ts_overflow": "0",
    # A file that begins inside a long group of pictures says its format only at the next one.
    "analyzeduration": "60000000",
    "probesize": "50000000",
}


def open_container(path: Path, what: str) -> "InputContainer":
    """Opens a local file; `what` stands for it in errors.

    Raises:
        UserError: the file is empty, missing, cut off, no video, or a bare stream without stamps.
    """
    import av

    try:
        if path.stat().st_size == 0:
            raise UserError(f"{what}: the video file is empty")
        return av.open(
            str(path.absolute()),
            options=_OPTIONS,
        )
    except av.FFmpegError as error:
        if not path.is_dir() and _is_bare(path):
            raise UserError(
                f"{what}: the video is a bare stream without time stamps; expected a container "
                "such as MP4 or MKV, written with the camera's frame rate (ffmpeg -r RATE -i IN "
                "-c copy OUT.mkv)"
            ) from None
        raise UserError(
            f"{what}: the video cannot be opened ({error.strerror}); it is cut off, damaged or "
            "not a video"
        ) from None
    except OSError as error:
        raise UserError(f"{what}: the video cannot be read ({error.strerror})") from None


def _is_bare(path: Path) -> bool:
    import av

    options = {"protocol_whitelist": "file", "format_whitelist": _BARE}
    try:
        with av.open(str(path.absolute()), options=options) as container:
            return any(stream.width > 0 for stream in container.streams.video)
    except (av.FFmpegError, OSError, ValueError):
        return False


def picture_stream(container: "InputContainer", what: str) -> "VideoStream":
    """The first video stream that is no cover picture.

    Raises:
        UserError: there is none, or its pictures are of an impossible size.
    """
    from av.stream import Disposition

    for stream in container.streams.video:
        context = stream.codec_context
        if (
            stream.disposition & Disposition.attached_pic
            or context is None
            or context.name in _PICTURES
        ):
            continue
        if context.width * context.height > MAX_PIXELS:
            raise UserError(
                f"{what}: pictures of {context.width}x{context.height}; expected at most "
                f"{MAX_PIXELS} pixels"
            )
        context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}
        return stream
    raise UserError(f"{what}: the file holds no video stream")


def start_seconds(path: Path, container: "InputContainer", stream: "VideoStream") -> float:
    """When the file's own clock begins: the stamp of its first packet, of picture or sound."""
    starts = {
        each.index: float(each.start_time * each.time_base)
        for each in container.streams
        if each.type in ("video", "audio")
        and each.start_time is not None
        and each.time_base is not None
    }
    wrap_s = wrap_seconds(container)
    if wrap_s < math.inf:
        # FFmpeg's word on the start of such a stream may be that of its first whole picture.
        starts |= _first_stamps(path, stream.index)
        own = starts.get(stream.index, 0.0)
        # Sound just before the wrap and pictures just behind it.
        starts = {k: s - wrap_s if s - own > wrap_s / 2 else s for k, s in starts.items()}
    return min(starts.values(), default=0.0)


def wrap_seconds(container: "InputContainer") -> float:
    """After how many seconds the container's clock starts again at 0; infinite if it does not."""
    return 2**33 / 90000 if container.format.name in ("mpegts", "mpeg") else math.inf


def _first_stamps(path: Path, stream_index: int) -> dict[int, float]:
    """Stream -> seconds of its first packet, of the streams that begin within some seconds."""
    import av

    first: dict[int, float] = {}
    seen = 0
    with av.open(str(path.absolute()), options=_OPTIONS) as container:
        packets = container.demux()
        for _ in range(_FIRST_PACKETS):
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):
                break
            stamp = packet.pts if packet.pts is not None else packet.dts
            if packet.stream.type not in ("video", "audio") or stamp is None:
                continue
            first.setdefault(packet.stream.index, float(stamp * packet.time_base))
            seen += packet.stream.index == stream_index
            if seen > 50:
                break
    return first


def creation_time(container: "InputContainer", stream: "VideoStream") -> datetime | None:
    """When the container says it was made; its zone is dropped (`sync.video_start` says why).

    None where it does not say, or names the beginning of some computer's time.
    """
    text = stream.metadata.get("creation_time") or container.metadata.get("creation_time")
    try:
        made = datetime.fromisoformat(text).replace(tzinfo=None) if text else None
    except ValueError:
        return None
    return made if made is not None and made.year >= _FIRST_YEAR else None
