"""Containers and codecs of which clips are made: a table, and the clips themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.unit.decode.footage import encode


@dataclass(frozen=True)
class Pair:
    """A container, by the ending of a file, and a codec of FFmpeg's."""

    suffix: str
    codec: str
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] = (48, 64)
    rate: int = 25
    format: str | None = None

    @property
    def name(self) -> str:
        """Container and codec, and what sets the pair apart from others of the two."""
        return "-".join([self.suffix, self.codec, *(self.options.get("label", "").split())])

    def make(self, folder: Path, num_frames: int) -> Path:
        """Encode a clip of so many frames."""
        options = {name: value for name, value in self.options.items() if name != "label"}
        return encode(
            folder / f"{self.name}.{self.suffix}",
            num_frames,
            codec=self.codec,
            pix_fmt=self.pix_fmt,
            options=options,
            size=self.size,
            rate=self.rate,
            container=self.format,
        )


_B = {"g": "8", "bf": "2"}
_P = {"g": "8"}
_X264 = {"g": "8", "bf": "2", "preset": "ultrafast", "x264-params": "scenecut=0:b-adapt=0"}
_OPEN = {**_X264, "x264-params": "scenecut=0:b-adapt=0:open-gop=1", "label": "open"}
_FIELDS = {"preset": "ultrafast", "x264-params": "interlaced=1:keyint=8", "label": "fields"}
_X265 = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=8:bframes=2:scenecut=0"}
_VPX = {"g": "8", "auto-alt-ref": "1", "lag-in-frames": "6", "cpu-used": "5"}
_AV1 = {"g": "8", "preset": "12", "svtav1-params": "lp=1"}
_INTERLACED = {"g": "8", "bf": "2", "flags": "+ildct+ilme", "label": "interlaced"}

PAIRS: tuple[Pair, ...] = (
    Pair("mp4", "libx264", options=_X264),
    Pair("mp4", "libx264", options=_OPEN),
    Pair("mp4", "libx265", options=_X265),
    Pair("mp4", "mpeg4", options=_B),
    Pair("mp4", "libsvtav1", options=_AV1, size=(64, 64)),
    Pair("mp4", "libvpx-vp9", options=_VPX),
    Pair("mov", "prores", "yuv422p10le"),
    Pair("mov", "png", "rgb24"),
    Pair("mov", "qtrle", "rgb24"),
    Pair("mov", "svq1", "yuv410p", _P),
    Pair("mov", "cinepak", "rgb24"),
    Pair("mov", "rpza", "rgb555"),
    Pair("mov", "mjpeg", "yuvj420p"),
    Pair("mov", "v210", "yuv422p10le"),
    Pair("mkv", "libx264", options=_X264),
    Pair("mkv", "libx265", options=_X265),
    Pair("mkv", "mpeg2video", options=_B),
    Pair("mkv", "ffv1", options=_P),
    Pair("mkv", "rawvideo"),
    Pair("webm", "libvpx", options=_VPX),
    Pair("webm", "libvpx-vp9", options=_VPX),
    Pair("avi", "mpeg4", options=_B),
    Pair("avi", "libx264", options=_X264),
    Pair("avi", "msmpeg4v2", options=_P),
    Pair("avi", "msmpeg4", options=_P),
    Pair("avi", "mjpeg", "yuvj420p"),
    Pair("avi", "huffyuv", "rgb24"),
    Pair("avi", "ffvhuff"),
    Pair("avi", "utvideo"),
    Pair("avi", "cinepak", "rgb24"),
    Pair("avi", "msvideo1", "rgb555le"),
    Pair("avi", "rawvideo", "bgr24"),
    Pair("avi", "dvvideo", size=(576, 720)),
    Pair("flv", "flv", options=_P),
    Pair("flv", "libx264", options=_X264),
    Pair("wmv", "wmv1", options=_P),
    Pair("wmv", "wmv2", options=_P),
    Pair("asf", "msmpeg4", options=_P),
    Pair("3gp", "h263", options=_P, size=(96, 128)),
    Pair("ts", "libx264", options=_X264),
    Pair("ts", "libx264", options=_FIELDS),
    Pair("ts", "libx265", options=_X265),
    Pair("ts", "mpeg2video", options=_B),
    Pair("ts", "mpeg2video", options=_INTERLACED),
    Pair("mpg", "mpeg1video", options=_B),
    Pair("mpg", "mpeg2video", options=_B),
    Pair("vob", "mpeg2video", options=_B),
    Pair("mxf", "mpeg2video", "yuv422p", _P),
    Pair("mxf", "dnxhd", "yuv422p", {"b": "36M"}, size=(1080, 1920)),
    Pair("gif", "gif", "rgb8"),
    Pair("apng", "apng", "rgb24"),
    Pair("y4m", "wrapped_avframe"),
    Pair("dv", "dvvideo", size=(576, 720)),
    Pair("ivf", "libvpx", options=_VPX),
    Pair("ivf", "libvpx-vp9", options=_VPX),
    Pair("m2v", "mpeg2video", options=_B),
    Pair("h264", "libx264", options=_X264),
    Pair("hevc", "libx265", options=_X265),
    Pair("mjpeg", "mjpeg", "yuvj420p"),
    Pair("m4v", "mpeg4", options=_B),
)
