"""The packets of a video in file order, with stamps that can be believed."""

import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

BACK_S = 0.5
"""A stamp this far behind the last one is a network's jitter; further behind, the clock broke."""
LEAP_S = 10.0
"""A step between two stamps that is worth a word."""
LOST_S = 1.0
"""Missing pictures of an AVI file beyond this are worth a word."""
MAX_WRAP_S = 60.0
"""Recording goes on over a wrap of the clock; a longer step to it is a restart."""
MAX_PAUSE_S = 86400.0
"""No pause of a night is longer: stamps that leap further are those of another clock."""

_STREAMED = ("mpegts", "mpeg", "flv", "matroska")
"""Containers without an index that counts: nothing says how much of them there should be."""
_TAIL_BYTES = 1_000_000  # an index at the end may be as long

_PEEK = 250  # packets looked at before it is said how a file stamps its pictures
_MAX_UNSTAMPED = 5000  # packets held until the next stamp
_MAX_DAMAGED = 100_000
_REORDER = 8  # pictures; what codecs hold back at most in practice


@dataclass
class ClockReport:
    """What the stamps of a video say of its clock; seconds since the start of the video."""

    end_s: float | None = None
    """Time of the last picture whose place is known, once the end has been reached."""
    pauses: list[tuple[float, float]] = field(default_factory=list)
    """Where stamps leap forward, and by how much: taken for pauses of the recorder."""
    restart_s: float | None = None
    """Where the clock starts anew; what lies behind cannot be placed in time."""
    behind_s: float = 0.0
    """Seconds of video behind the restart."""
    restarts: int = 0
    damaged_stamps: int = 0
    damaged_packets: int = 0
    unstamped: int = 0
    """Pictures without a stamp, spaced evenly between those that have one."""
    unread_bytes: int = 0
    """What the file holds behind the last packet, where that is much."""

    lost_s: float = 0.0
    """What an AVI file promises and does not hold."""

    def notes(self) -> list[str]:
        """The report in words, one line each."""
        lines = []
        if self.lost_s:
            lines.append(
                f"{self.lost_s:.1f} s of its pictures are missing; AVI counts pictures and does "
                "not stamp them, so that those behind a loss come too early"
            )
        if self.restart_s is not None:
            times = "" if self.restarts == 1 else f" (and {self.restarts - 1} more times)"
            lines.append(
                f"its clock starts anew after {self.restart_s:.1f} s{times}: the "
                f"{self.behind_s:.0f} s behind cannot be placed in time and are left out; cut the "
                "file there and say when each part began"
            )
        if self.pauses:
            paused = sum(seconds for _, seconds in self.pauses)
            lines.append(
                f"its clock leaps forward by {paused:.0f} s in all, {len(self.pauses)} x, first at "
                f"{self.pauses[0][0]:.1f} s; taken for pauses of the recorder"
            )
        if self.unstamped:
            lines.append(
                f"{self.unstamped} pictures have no time stamp and are spaced evenly between those "
                "that have one"
            )
        if self.damaged_stamps:
            lines.append(f"{self.damaged_stamps} damaged time stamps were passed over")
        if self.damaged_packets:
            lines.append(f"{self.damaged_packets} damaged pieces were passed over")
        if self.unread_bytes:
            lines.append(
                f"{self.unread_bytes} bytes behind its last readable picture cannot be read"
            )
        return lines


class PacketClock:
    """Reads the packets of one stream and judges their stamps.

    Decoding stamps rise from packet to packet. A 33-bit clock that wraps is unwrapped. A single
    stamp that leaps is damage; two in a row that lie behind are a recorder that restarted, and the
    reading ends there, since nothing says how long it was off.

    Args:
        wrap_s: length of the container's clock in seconds, infinite if it does not wrap.
        start_s: the container's time of the moment that is called 0.
    """

    def __init__(
        self, container: "InputContainer", stream: "VideoStream", start_s: float, wrap_s: float
    ):
        assert stream.time_base is not None
        self.report = ClockReport()
        self._container, self._stream = container, stream
        self._unit = float(stream.time_base)
        self._start_s, self._wrap_s = start_s, wrap_s
        self._wraps = 0
        self._last: float | None = None
        self._latest: float | None = None
        self._delay = 0  # from the decoding stamp to the moment of showing, where only that is kept
        self._streamed = container.format.name.split(",")[0] in _STREAMED
        self._source = self._demux(container.demux(stream))
        peeked = [packet for _, packet in zip(range(_PEEK), self._source, strict=False)]
        real = [packet for packet in peeked if packet.size]
        self.stamped = any(_stamp(packet) is not None for packet in real)
        self._decoding_stamps = any(packet.dts is not None for packet in real)
        # AVI numbers packets in the order of decoding; what FFmpeg gives as moments of showing is a
        # guess that goes wrong with B-frames. A programme stream stamps some pictures only.
        self._numbered = container.format.name == "avi"
        self.by_decoding = container.format.name in ("avi", "mpeg") or any(
            packet.pts is None for packet in real
        )
        if self.by_decoding and not self._numbered:
            self._delay = _delay(real)
        first = next((stamp for packet in real if (stamp := _stamp(packet)) is not None), None)
        if first is not None and first * self._unit - start_s > wrap_s / 2:
            self._start_s += wrap_s  # decoded just before the clock wraps, shown just behind
        self._source = itertools.chain(peeked, self._source)

    def seconds(self, stamp: int) -> float:
        """Seconds since the start of the video at a stamp of a packet from `packets`."""
        return (stamp + self._delay) * self._unit - self._start_s

    def rewound(self, packets: "Iterator[Packet]") -> None:
        """Goes on with other packets, after a jump in the file."""
        self._source = self._demux(packets)
        self._last = self._latest = self.report.end_s = None

    def packets(self) -> "Iterator[Packet]":
        """Packets up to the end or to a restart of the clock, in file order.

        Their `pts` is the moment of showing, or of decoding where `by_decoding`; None if damaged.
        """
        doubtful: tuple[Packet, float] | None = None
        for packet in self._filled(self._source):
            stamp = _stamp(packet)
            if stamp is None:
                if packet.size:
                    yield packet
                continue
            moment = self._unwrapped(packet, stamp)
            if packet.dts is None and self._decoding_stamps:
                # Where reading begins, FFmpeg knows when a picture is shown and not yet when it is
                # decoded: with B-frames of a slow camera that may be seconds ahead.
                self._show(packet)
                yield packet
                continue
            if doubtful is not None:
                earlier, doubted = doubtful
                doubtful = None
                if not self._believed(doubted, moment):
                    self.report.damaged_stamps += 1
                    earlier.pts = None
                    yield earlier
                elif self._begins_anew(doubted):
                    self._count_behind(doubted, moment)
                    break
                else:
                    yield self._accept(earlier, doubted)
            if self._last is not None and not -BACK_S <= moment - self._last <= LEAP_S:
                doubtful = packet, moment
                continue
            yield self._accept(packet, moment)
        if doubtful is not None and self._last is not None:
            packet, moment = doubtful
            if self._last < moment <= self._last + MAX_PAUSE_S:
                yield self._accept(packet, moment)
            else:
                self.report.damaged_stamps += 1
        if self._latest is not None:
            self.report.end_s = self._latest
            if self._numbered:
                short = self._stream.frames * self._unit - self._latest
                self.report.lost_s = short if short > LOST_S else 0.0

    def _believed(self, doubted: float, following: float) -> bool:
        """Whether the packet after one that leaps bears it out."""
        assert self._last is not None
        if doubted > self._last:
            return following >= doubted - BACK_S
        return following < self._last - BACK_S

    def _begins_anew(self, moment: float) -> bool:
        assert self._last is not None
        return not -BACK_S <= moment - self._last <= MAX_PAUSE_S

    def _accept(self, packet: "Packet", moment: float) -> "Packet":
        if self._last is not None and moment - self._last > LEAP_S:
            self.report.pauses.append((self._latest or 0.0, moment - self._last))
        self._last = moment if self._last is None else max(moment, self._last)
        if self.by_decoding:
            packet.pts = packet.dts if packet.dts is not None else packet.pts
        self._show(packet)
        return packet

    def _show(self, packet: "Packet") -> None:
        """Counts the moment at which an accepted packet is shown."""
        if packet.pts is not None:
            shown, decoded = self.seconds(packet.pts), self.seconds(_stamp(packet) or 0)
            if abs(shown - decoded) > MAX_PAUSE_S:
                self.report.damaged_stamps += 1
                packet.pts = None
            else:
                near = shown if abs(shown - decoded) <= LEAP_S else decoded
                self._latest = near if self._latest is None else max(near, self._latest)

    def _unwrapped(self, packet: "Packet", stamp: int) -> float:
        moment = stamp * self._unit
        if self._wrap_s == float("inf"):
            return moment
        moment += self._wraps * self._wrap_s
        if self._last is not None and -BACK_S <= moment + self._wrap_s - self._last <= MAX_WRAP_S:
            self._wraps += 1
            moment += self._wrap_s
        if self._wraps:
            ticks = round(self._wrap_s / self._unit)
            for name in ("pts", "dts"):
                value = getattr(packet, name)
                if value is not None:
                    setattr(packet, name, value + self._wraps * ticks)
        if packet.pts is not None and packet.dts is not None and packet.pts < packet.dts:
            ticks = round(self._wrap_s / self._unit)
            if packet.dts - packet.pts > ticks // 2:  # shown behind the wrap, decoded before it
                packet.pts += ticks
        return moment

    def _count_behind(self, first: float, second: float) -> None:
        self.report.restart_s = self._latest
        self.report.restarts = 1
        self.report.behind_s = max(0.0, min(second - first, LEAP_S))
        last = second
        for packet in self._source:
            stamp = _stamp(packet)
            if stamp is None:
                continue
            step, last = stamp * self._unit - last, stamp * self._unit
            if step < -BACK_S:
                self.report.restarts += 1
            elif step <= LEAP_S:
                self.report.behind_s += step

    def _demux(self, packets: "Iterator[Packet]") -> "Iterator[Packet]":
        import av

        read_to = 0
        while True:
            try:
                packet = next(packets)
                if packet.pos is not None and packet.size:
                    read_to = max(read_to, packet.pos + packet.size)
                yield packet
            except StopIteration:
                unread = self._container.size - read_to
                if self._streamed and unread > max(_TAIL_BYTES, read_to // 50):
                    self.report.unread_bytes = unread
                return
            except av.error.InvalidDataError:
                self.report.damaged_packets += 1
                if self.report.damaged_packets > _MAX_DAMAGED:
                    return
            except av.FFmpegError:  # the file ends inside a packet
                return

    def _filled(self, packets: "Iterable[Packet]") -> "Iterator[Packet]":
        """Packets without a stamp get one, evenly between those that have one."""
        if not self.by_decoding:
            for packet in packets:  # not `yield from`, which would close what others go on with
                yield packet
            return
        waiting: list[Packet] = []
        before: int | None = None
        step = 0.0
        for packet, following in _pairs(packets):
            stamp = _stamp(packet)
            if stamp is not None and following is not None and _stamp(following) == stamp:
                stamp = None  # FFmpeg gives the next picture's stamp to the end of this one, too
            if stamp is None:
                if packet.size and before is not None and len(waiting) < _MAX_UNSTAMPED:
                    waiting.append(packet)
                continue
            if before is not None and stamp > before:
                step = (stamp - before) / (len(waiting) + 1)
            yield from self._spaced(waiting, before, step)
            waiting = []
            before = stamp
            yield packet
        yield from self._spaced(waiting, before, step)

    def _spaced(
        self, packets: "list[Packet]", before: int | None, step: float
    ) -> "Iterator[Packet]":
        for k, packet in enumerate(packets, 1):
            if before is not None and step > 0:
                packet.pts = packet.dts = before + round(k * step)
                self.report.unstamped += 1
                yield packet


def in_order_of_showing(
    frames: "Iterable[tuple[int, VideoFrame]]", reordered: bool
) -> "Iterator[tuple[int, VideoFrame]]":
    """Decoded frames, each with the stamp of its own packet in decoding order, get the stamps of
    showing: frames come out in the order of showing, so the k-th has the k-th smallest."""
    depth = _REORDER if reordered else 0
    stamps: list[int] = []
    waiting: deque[VideoFrame] = deque()
    for stamp, frame in frames:
        heapq.heappush(stamps, stamp)
        waiting.append(frame)
        if len(waiting) > depth:
            yield heapq.heappop(stamps), waiting.popleft()
    while waiting:
        yield heapq.heappop(stamps), waiting.popleft()


def without_strays(
    frames: "Iterable[tuple[float, VideoFrame]]", report: ClockReport
) -> "Iterator[tuple[float, VideoFrame]]":
    """Frames (in the order of showing) whose times rise; one that leaps ahead of those that follow
    is damaged."""
    last = -float("inf")
    leaping: tuple[float, VideoFrame] | None = None
    for seconds, frame in frames:
        if leaping is not None:
            if seconds > leaping[0]:
                yield leaping
                last = leaping[0]
            else:
                report.damaged_stamps += 1
            leaping = None
        if seconds > last + LEAP_S and last >= 0:
            leaping = seconds, frame
        elif seconds > last:
            last = seconds
            yield seconds, frame
    if leaping is not None:
        yield leaping


def _stamp(packet: "Packet") -> int | None:
    return packet.dts if packet.dts is not None else packet.pts


def _delay(packets: "list[Packet]") -> int:
    """From decoding to showing: that of the pictures that stand alone, else the mean of all, since
    pictures are shown in another order only."""
    delays = [
        (packet.is_keyframe, packet.pts - packet.dts)
        for packet in packets
        if packet.pts is not None and packet.dts is not None
    ]
    alone = [delay for key, delay in delays if key]
    if alone:
        return min(alone)
    return round(sum(delay for _, delay in delays) / len(delays)) if delays else 0


def _pairs(packets: "Iterable[Packet]") -> "Iterator[tuple[Packet, Packet | None]]":
    """Each packet with the one that follows."""
    before: Packet | None = None
    for packet in packets:
        if before is not None:
            yield before, packet
        before = packet
    if before is not None:
        yield before, None
