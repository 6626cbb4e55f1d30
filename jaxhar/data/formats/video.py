"""Reads videos as streams of RGB frames with their times; a video is never held in memory as a whole."""

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer

from jaxhar.data.formats import content
from jaxhar.data.formats.ending import Ending
from jaxhar.data.formats.times import Clock, rate, rising
from jaxhar.data.formats.upright import Upright
from jaxhar.host.errors import Problem

#: FFmpeg's names of the container formats that are read. Others read further files that they name (playlists, numbered
#: pictures), draw text, or are formats of sound.
_FORMATS = (
    *("mov", "matroska", "avi", "asf", "flv", "mpegts", "mpeg", "mpegvideo", "ogg", "mxf", "nut", "rm", "wtv", "dv"),
    *("ivf", "obu", "av1", "h263", "h264", "hevc", "vvc", "m4v", "vc1", "mjpeg", "yuv4mpegpipe"),
)
#: Tolerance in seconds when frames are selected by time.
_ROUNDING = 1e-4
#: Of two chosen frames farther apart than this many seconds, the second one is looked for anew.
_GAP = 2.0
REMEDY = "restore it, or leave it out (--skip-broken, skip_broken=true)"


@dataclass(frozen=True)
class Frame:
    """One picture of a source.

    Attributes:
      index: position in the source, from 0.
      time: seconds from the first frame; for still images 0.
      path: its file.
      image: (H, W, 3) uint8 RGB, or None if the caller asked not to convert it.
    """

    index: int
    time: float
    path: Path
    image: np.ndarray | None


class Video:
    """A video file as a source of frames; each call of `frames` reads the file from the start.

    Attributes:
      path: the file.
      skip_broken: read on after damage, and to where a file breaks off, instead of stopping with a Problem.
      side: scale the pictures to this shorter side; None leaves them as they are.
      threaded: decode in several threads; where many videos are decoded at once, one for each takes less time in all.
      broken: with `skip_broken`, a sentence about the damage, once it was read; else empty.
    """

    def __init__(self, path: Path, skip_broken: bool = False, side: int | None = None, threaded: bool = True):
        self.path = path
        self.broken: list[str] = []
        self.skip_broken, self.side, self.threaded = skip_broken, side, threaded
        self._ready: InputContainer | None = None
        self._check()

    def _check(self) -> None:
        """Open the file, for the errors that this may raise; the first reading takes the open file."""
        with contextlib.ExitStack() as stack:
            container = stack.enter_context(self._container())
            self._stream(container)
            stack.pop_all()
        self._ready = container

    @property
    def fps(self) -> Fraction:
        """Average frames per second, from the times of all frames, see `times.rate`."""
        return self._survey[0]

    @property
    def total(self) -> int | None:
        """Number of frames in the file, without decoding them; None if unknown. Broken ones are counted."""
        return self._survey[1] or None

    @property
    def times(self) -> np.ndarray | None:
        """Seconds of all frames (T,) from the first one, without decoding them; None if the file does not tell them.

        Raises:
          Problem: the file ends before its header says.
        """
        _, _, times, cut = self._packets
        if cut:
            raise Problem(f"{self.path}: {cut}; {REMEDY}")
        return times

    @cached_property
    def _survey(self) -> tuple[Fraction, int]:
        """Rate and number of frames, by reading the file without decoding."""
        return self._packets[:2]

    @cached_property
    def _packets(self) -> tuple[Fraction, int, np.ndarray | None, str | None]:
        """Rate, number of frames, their times, and what the end lacks, by reading the file without decoding."""
        stamps: list[int | None] = []
        shown: list[int | None] = []
        with self._open() as (container, stream):
            assert stream.time_base is not None
            ending = Ending(container, stream)
            with contextlib.suppress(av.FFmpegError, OSError, IndexError):
                for packet in container.demux(ending.streams):
                    ending.packet(packet)
                    if packet.size and packet.stream is stream:
                        stamps.append(packet.dts)
                        if not packet.is_discard:
                            shown.append(packet.pts)
            headers = stream.average_rate, stream.base_rate, stream.codec_context.framerate
            fps = rate(stamps, stream.time_base, *headers)
            # AVI files have no times of presentation, and those of broadcasts begin anew where recordings were joined
            told = container.format.name not in ("avi", "mpegts", "mpeg")
            times = rising(shown, stream.time_base, stream.start_time) if told else None
            return fps, len(shown), times, ending.early(lambda: fps)

    def _container(self) -> InputContainer:
        name = content.regular(self.path)
        options = {"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "file"}
        try:
            # the protocol is named, because a name such as 12:30.mp4 seems to begin with one
            form = "mjpeg" if name.suffix.lower() in content.JPEG_STREAMS else None
            return av.open(f"file:{name}", format=form, options=options, metadata_errors="replace")
        except (av.error.InvalidDataError, av.error.ArgumentError) as error:
            raise Problem(
                f"{self.path}: this file cannot be read: it holds no video of a known kind (MP4, MOV, MKV, WebM, AVI, "
                "MPEG, ...), or it is damaged or cut off"
            ) from error
        except (av.FFmpegError, OSError) as error:
            raise Problem(f"{self.path}: this video cannot be read: {error.strerror or error}") from error

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[InputContainer, av.VideoStream]]:
        container, self._ready = self._ready or self._container(), None
        with container:
            yield container, self._stream(container)

    def _stream(self, container: InputContainer) -> av.VideoStream:
        """The video of a file: of several the one that is marked, or the largest one; a cover picture is none."""
        streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not streams:
            raise Problem(f"{self.path}: this file contains no video")
        known = [s for s in streams if s.codec_context is not None]
        if not known:
            raise self._undecodable("a codec that FFmpeg does not know")
        default = av.stream.Disposition.default
        return max(known, key=lambda s: (bool(s.disposition & default), s.width * s.height))

    def _undecodable(self, codec: str) -> Problem:
        return Problem(f"{self.path}: the video is in {codec}, which cannot be decoded here; convert it to H.264")

    def frames(self, every: int = 1) -> Generator[Frame]:
        """All frames, upright and with square pixels. Only every `every`-th one has an `image`; with 0 none has.

        If the size of frames changes within the video, they are scaled to the size of the first one.

        Raises:
          Problem: the file is damaged or ends before its header says, without `skip_broken`.
        """
        return self.between(None, None, lambda index: bool(every) and index % every == 0)

    def between(self, start: float | None, end: float | None, wanted: Callable[[int], bool]) -> Generator[Frame]:
        """As `frames`, for times start <= t < end in seconds; only frames whose index is `wanted` have an image.

        Indices and times count from the first yielded frame. Decoding begins at the key frame before `start`.
        """
        index, first = 0, None
        with contextlib.closing(self._pictures(start)) as pictures:
            for time, picture in pictures:
                if start and time < start - _ROUNDING:
                    continue
                if end is not None and time >= end - _ROUNDING:
                    return
                first = time if first is None else first
                yield Frame(index, time - first, self.path, picture() if wanted(index) else None)
                index += 1

    def at(self, times: Sequence[float]) -> Generator[np.ndarray]:
        """The pictures of the frames at some rising times, which `times` tells; no more is decoded than these need.

        Raises:
          Problem: one of them cannot be decoded.
        """
        left = deque(times)
        while left:
            before = len(left)
            with contextlib.closing(self._pictures(left[0])) as pictures:
                for time, picture in pictures:
                    if time < left[0] - _ROUNDING:
                        continue
                    if time > left[0] + _ROUNDING:
                        break
                    yield picture()
                    left.popleft()
                    if not left or left[0] > time + _GAP:
                        break
            if len(left) == before:
                raise Problem(f"{self.path}: the frame at {left[0]:.3f} s cannot be decoded; {REMEDY}")

    def _pictures(self, start: float | None) -> Generator[tuple[float, Callable[[], np.ndarray]]]:
        """The time of every frame in seconds from the first frame of the file, and a function that converts it.

        With `start`, frames more than a second before it may be left out.
        """
        with self._open() as (container, stream):
            assert stream.time_base is not None
            stream.thread_type = "AUTO" if self.threaded else "NONE"
            name = container.format.name
            upright = Upright(
                stream.sample_aspect_ratio, turns=stream.codec_context.name in ("h264", "hevc"), side=self.side
            )
            clock = Clock(lambda: float(1 / self.fps), joined=name in ("mpegts", "mpeg"))
            base = float(stream.time_base)
            origin = (stream.start_time or 0) * base
            start = start or 0.0
            # the times of AVI files count frames in the order of decoding
            ordered = name != "avi" or not stream.codec_context.has_b_frames
            seeks = start > 1 and stream.start_time is not None and ordered
            if seeks:  # a second early, because a container may seek by the order of decoding
                container.seek(int((origin + start - 1) / base), stream=stream)
            skipped: float | None = None
            for frame in self._decode(container, stream, whole=not seeks):
                # AVI files have no times of presentation; FFmpeg makes them up, and not always in order
                stamp = frame.dts if name == "avi" else frame.pts
                moment = None if stamp is None else stamp * base
                if skipped is None:
                    skipped = (moment or 0.0) - origin if seeks else 0.0
                    if skipped > start:  # a stream without key frames
                        yield from self._pictures(None)
                        return
                yield skipped + clock(moment), partial(upright, frame)

    def _decode(self, container: InputContainer, stream: av.VideoStream, whole: bool) -> Iterator[av.VideoFrame]:
        """The decoded frames; damage is a Problem or noted in `broken`. `whole`: reading began at the start."""
        ending = Ending(container, stream, whole)
        packets = container.demux(ending.streams)
        count, damage = 0, ""
        while True:
            why, packet = "", None
            decoded: list[Any] = []
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                ending.packet(packet)
                if packet.stream is stream:
                    decoded = packet.decode()
            except IndexError:  # of PyAV, behind the last packet of a file in which a stream begins later
                break
            except (av.error.PatchWelcomeError, av.error.DecoderNotFoundError) as error:
                raise self._undecodable(f"a form of {stream.codec_context.name}") from error
            except (av.FFmpegError, OSError) as error:
                why = error.strerror or str(error)
            for frame in decoded:
                ending.frame(frame)
            if ending.torn is not None:
                why = why or "parts of it are overwritten or missing"
            if why and not damage:
                whole_frames = count if ending.torn is None else ending.torn
                total = ending.promised(self.fps) or self.total
                damage = f"the video is damaged after frame {whole_frames} of {total}: {why}"
                if not self.skip_broken:
                    raise Problem(f"{self.path}: {damage}; {REMEDY}")
            count += len(decoded)
            yield from decoded
        if not whole:
            return
        complaint = ending.complaint(lambda: self.fps)
        if not count:
            why = damage or complaint or "it holds none"
            raise Problem(f"{self.path}: no frame of this video can be decoded: {why}; {REMEDY}")
        if complaint and not self.skip_broken:
            raise Problem(f"{self.path}: {complaint}; {REMEDY}")
        if damage or complaint:
            self.broken = [f"{self.path}: {damage or complaint}; {count} frames were read"]
