"""Compares what the header of a video promises with what was read: the end, and frames that are lost inside."""

from collections.abc import Callable
from fractions import Fraction

import av
from av.container import InputContainer

#: Formats with an index of all packets, those whose header holds a length, and those that are cut anywhere.
_INDEXED, _MEASURED, _CUT = ("mov", "avi"), ("matroska", "flv", "asf"), ("mpegts", "mpeg", "mpegvideo", "h264", "hevc")
#: Codecs in whose streams a packet may stand for "nothing changed", or for a picture that is never shown.
_SILENT = ("mpeg4", "vp8", "msmpeg4v3")
#: Where recordings are joined, their times go back, and up to this many packets before are called incomplete.
_JOINT = 3
#: Headers may say up to this many frames more: they are rounded, count dropped frames, or were written before the end.
_FRAMES = 2
#: ... and up to this share of the length of a whole file, which may be that of its sound.
_SHARE = 0.01


class Ending:
    """Counts the packets and frames of one reading to the end of a file.

    Args:
      whole: the reading begins at the start.

    Attributes:
      streams: what to demux for it: all streams, or the video alone.
      torn: number of frames before the first one that is certainly incomplete; None if there is none.
    """

    def __init__(self, container: InputContainer, stream: av.VideoStream, whole: bool = True):
        self._container, self._stream = container, stream
        self._name = container.format.name.split(",")[0]
        self._tag = _seconds(stream.metadata.get("DURATION"))
        self._indexed = len(stream.index_entries) if self._name in _INDEXED else 0
        self._packets = self._frames = self._shown = self._last = 0
        self._torn_frame, self._torn_packet, self._before = False, 0, 0
        self.torn: int | None = None
        self._early: list[int] = []
        self._longest, self._end = 0, 0.0
        # numbers instead of fractions, because this runs for every packet
        self._units = {s.index: float(s.time_base or 0) for s in container.streams}
        self._measured = self._name in _MEASURED
        sound = whole and self._name in _MEASURED and self._tag is None
        self.streams = [s for s in container.streams if s is stream or (sound and s.type == "audio")]
        self._cut = not whole or self._name in _CUT

    def packet(self, packet: av.Packet) -> None:
        """Note a packet of any stream."""
        if not packet.size:
            return
        pts, dts, duration = packet.pts, packet.dts, packet.duration or 0
        if self._measured and (stamp := dts if pts is None else pts) is not None:
            self._end = max(self._end, (stamp + duration) * self._units[packet.stream_index])
        if packet.stream is not self._stream:
            return
        self._packets += 1
        if dts is not None:
            joint = dts < self._last - duration
            if self._packets > 1:
                self._longest = max(self._longest, dts - self._last)
            self._last = dts + duration
            if joint:
                self._torn_packet = 0
            elif self._torn_packet:
                self._torn_packet -= 1
                if not self._torn_packet and self.torn is None:
                    self.torn = self._before
            elif packet.is_corrupt and self._counts:
                self._torn_packet, self._before = _JOINT, self._frames
        if not packet.is_discard:
            self._shown += 1
            if not self._frames and pts is not None:
                self._early.append(pts)

    def frame(self, frame: av.VideoFrame) -> None:
        """Note a decoded frame."""
        if not self._frames and frame.pts is not None:
            # frames before the first one that can be decoded need others, which an editor cut away
            self._shown -= sum(stamp < frame.pts for stamp in self._early)
        if self._torn_frame and self.torn is None:
            self.torn = self._frames - 1
        self._torn_frame = frame.is_corrupt and self._counts
        self._frames += 1

    @property
    def _counts(self) -> bool:
        """Whether the next frame must be complete. Recordings of broadcasts begin and end within a frame."""
        return self._frames > 0 or not self._cut

    def promised(self, fps: Fraction) -> int | None:
        """Number of frames by the header, None if it has none."""
        said, base = self._stream.frames, self._stream.time_base
        if self._name == "avi" and base:  # in units of `base`, which may be shorter than a frame
            said = round(said * base * fps)
        return said or None

    def early(self, fps: Callable[[], Fraction]) -> str | None:
        """After all packets without any frame: what is missing, as a sentence; None if nothing is."""
        expected = self._expected(fps)
        if expected is None or expected <= self._shown:
            return None
        return f"the video ends after frame {self._shown}, but its header says {expected} frames"

    def complaint(self, fps: Callable[[], Fraction]) -> str | None:
        """At the end of the file: what is missing, as a sentence; None if nothing is.

        Args:
          fps: gives the rate of the video; called only if something may be missing.
        """
        expected = self._expected(fps)
        if expected is not None:
            return f"the video ends after frame {self._frames}, but its header says {expected} frames"
        if (self._torn_frame or self._torn_packet) and not self._cut:
            return f"the video is cut off in its last frame, {self._frames}"
        lost = self._shown - self._frames
        if self._name == "mov" and self._stream.codec_context.name not in _SILENT and lost > _FRAMES:
            return f"{lost} of the {self._shown} frames of the video cannot be decoded"
        return None

    def _expected(self, fps: Callable[[], Fraction]) -> int | None:
        """Number of frames that the header promises if more than what was read; None otherwise."""
        entries = len(self._stream.index_entries) if self._name == "mov" else self._indexed
        if entries > self._packets:
            return entries - self._packets + self._shown
        if self._name == "mov":  # exact, also where an editor cut frames away
            return None
        said, base = self._stream.frames, self._stream.time_base
        if self._name == "avi" and said and base:  # its index is behind the frames, so it is lost with the end
            if said - self._last <= _FRAMES or (said - self._last) * base * fps() <= _FRAMES:
                return None
            return max(self._frames + 1, self.promised(fps()) or 0)
        if self._name not in _MEASURED:
            return None
        length = self._tag or (self._container.duration or 0) / av.time_base
        gone = length - self._end
        # the last frame may be shown as long as any frame before it
        longest = self._longest * self._units[self._stream.index]
        if gone <= max(longest, 0.0 if self._tag else _SHARE * length) or gone * fps() <= _FRAMES:
            return None
        return max(self._frames + 1, round(length * fps()))


def _seconds(text: str | None) -> float | None:
    """The length that Matroska files have for each stream, as 00:00:04.040000000."""
    try:
        hours, minutes, seconds = (text or "").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None
