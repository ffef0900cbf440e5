"""How fast windows reach the model: prepared faces against decoding the videos anew.

    python experiments/loader.py VIDEOS/ prepared/ --size 96

Three ways, on one core, for the same windows: from the prepared folder; decoding each window's
frames again with its faces known, from the key frame before them; and doing all again, with
detection and tracking, as a loader without a store would. Each is timed over whole passes.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np

from istvt.data.layouts.choose import read_layout
from istvt.data.prepared.face_recipe import FaceRecipe
from istvt.data.prepared.prepare import prepare
from istvt.data.windows.index import WindowRef, spread, windows_in
from istvt.data.windows.samples import Sample, WindowDataset
from istvt.faces.align import cut_face
from istvt.faces.mtcnn import MtcnnDetector
from istvt.faces.track import FaceTracker
from istvt.presets import PAPER, CropRecipe, ModelConfig
from istvt.records import Face, UInt8Array
from istvt.video.source import open_source


def main() -> None:
    arguments = _parse()
    cv2.setNumThreads(1)
    preset = replace(PAPER, image_size=arguments.size)
    config = ModelConfig(preset, CropRecipe(arguments.size))
    manifest = read_layout(arguments.data)
    prepared = prepare(manifest, arguments.out, FaceRecipe.of_model(config))
    split = windows_in(prepared, arguments.split, preset.num_frames)
    refs = spread(split, arguments.windows_per_video)
    ways: dict[str, Callable[[Sequence[WindowRef]], int]] = {
        "prepared": read_prepared,
        "decode again, faces known": lambda refs: decode_again(refs, config),
        "decode, detect and track again": lambda refs: detect_again(refs, config),
    }
    rates = {name: [] for name in ways}
    for _ in range(arguments.passes):
        for name, way in ways.items():
            started = time.perf_counter()
            rates[name].append(way(refs) / (time.perf_counter() - started))
    medians = {name: float(np.median(found)) for name, found in rates.items()}
    print(f"{len(refs)} windows of {len(split.videos)} videos, {arguments.size} px, one core")
    for name, rate in medians.items():
        ratio = medians["prepared"] / rate
        print(f"{name:32s} {rate:9.1f} windows/s   prepared is {ratio:.1f} times as fast")
    (arguments.out / "loader.json").write_text(json.dumps(rates, indent=2) + "\n")


def read_prepared(refs: Sequence[WindowRef]) -> int:
    dataset = WindowDataset([Sample(ref, pair) for pair, ref in enumerate(refs)])
    return sum(1 for _ in dataset)


def decode_again(refs: Sequence[WindowRef], config: ModelConfig) -> int:
    for ref in refs:
        faces = ref.load()  # for its boxes and landmarks; what this takes is counted, and is little
        times = ref.faces.times_s[ref.start : ref.start + ref.num_frames]
        images = decode_between(ref.video.path, float(times[0]), float(times[-1]))
        if len(images) < ref.num_frames:
            raise SystemExit(f"{ref.video.path}: {len(images)} frames found at {times}")
        for image, box in zip(images, faces.boxes_xyxy, strict=False):
            # Landmarks in the frame are not stored; level eyes cost the same to cut.
            left, top, right, bottom = box
            marks = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
            landmarks = (left, top) + marks * (right - left, bottom - top)
            cut_face(image, Face(box, landmarks.astype(np.float32), 1.0), config.crop)
    return len(refs)


def decode_between(path: Path, first_s: float, last_s: float) -> list[UInt8Array]:
    images = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        begin_s = float((stream.start_time or 0) * stream.time_base)
        container.seek(int((begin_s + first_s) / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            time_s = float(frame.pts * stream.time_base) - begin_s
            if time_s > last_s + 1e-3:
                break
            if time_s >= first_s - 1e-3:
                images.append(frame.to_ndarray(format="rgb24"))
    return images


def detect_again(refs: Sequence[WindowRef], config: ModelConfig) -> int:
    detector = MtcnnDetector(min_face_px=config.crop.min_face_px, threads=1)
    for path in dict.fromkeys(ref.video.path for ref in refs):
        tracker = FaceTracker(detector)
        with open_source(path) as source:
            for frame in source:
                for tracked in tracker.update(frame)[:1]:
                    cut_face(frame.image, tracked.face, config.crop)
    return len(refs)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=300, help="side of the crops, px")
    parser.add_argument("--split", default="train")
    parser.add_argument("--windows-per-video", type=int, default=16, help="a pass, as in an epoch")
    parser.add_argument("--passes", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
