"""Compress a window of crops with a lossy codec and decode it again."""

from collections.abc import Sequence
from fractions import Fraction

import av
import cv2
import numpy as np

from istvt.errors import RuntimeEnvironmentError
from istvt.records import UInt8Array

# With macroblock trees and sides that are no multiple of 16, x264 sometimes wrote other bytes
# (7 of 160 runs at 300 px, one thread). With either change below it did not in 80 runs.
OPTIONS = {"preset": "veryfast", "x264-params": "mbtree=0"}
BLOCK_PX = 16


def compress_jpeg(crops: UInt8Array, quality: int) -> UInt8Array:
    """Write every frame as a JPEG and read it back: `(T, S, S, 3)`."""
    return np.stack([_through_jpeg(crop, quality) for crop in crops])


def compress_h264(crops: UInt8Array, crf: int) -> UInt8Array:
    """Write the frames as one H.264 clip in memory and read it back.

    The same frames give the same result in every process. Colour has half the resolution, as in
    nearly every video.

    Args:
        crops: `(T, S, S, 3)`, in order of time.
        crf: quality, 0 (lossless) to 51 (worst).

    Raises:
        RuntimeEnvironmentError: this build of FFmpeg has no libx264, or a frame was lost.
    """
    height, width = crops.shape[1:3]
    room = ((0, 0), (0, -height % BLOCK_PX), (0, -width % BLOCK_PX), (0, 0))
    clip = np.pad(crops, room, mode="edge")
    decoded = _decode(_encode(clip, crf))
    if len(decoded) != len(crops):
        raise RuntimeEnvironmentError(
            f"H.264 returned {len(decoded)} of {len(crops)} frames: install another build of PyAV"
        )
    return np.stack([image[:height, :width] for image in decoded])


def _through_jpeg(crop: UInt8Array, quality: int) -> UInt8Array:
    bgr = cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _encode(clip: UInt8Array, crf: int) -> list[bytes]:
    if "libx264" not in av.codecs_available:
        raise RuntimeEnvironmentError(
            "H.264 augmentation needs a PyAV with libx264: install PyAV's own wheel, or train "
            "with the H.264 probability at 0"
        )
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = clip.shape[1:3]
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    encoder.thread_count, encoder.options = 1, {**OPTIONS, "crf": str(crf)}
    packets: list[bytes] = []
    for number, image in enumerate(clip):
        planes = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = number
        packets += map(bytes, encoder.encode(frame))
    return [*packets, *map(bytes, encoder.encode(None))]


def _decode(packets: Sequence[bytes]) -> list[UInt8Array]:
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [frame for packet in packets for frame in decoder.decode(av.Packet(packet))]
    frames += decoder.decode(None)
    return [cv2.cvtColor(frame.to_ndarray(), cv2.COLOR_YUV2RGB_I420) for frame in frames]
