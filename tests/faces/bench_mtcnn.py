# ruff: noqa: T201
"""Measure face detection against facenet-pytorch, in one process, with the same threads.

    python -m tests.faces.bench_mtcnn path/to/stage_four_shots_640x360.mp4 --threads 2

Both take turns of some frames, so that whatever else the machine does meets both; a pause between
the turns lets the threads of PyTorch, which wait for work by spinning, go to sleep.
On a busy machine compare the processor's time with one thread: waiting is not in it.
"""

import argparse
import time
from pathlib import Path

import av
import cv2
import numpy as np

from istvt.faces.mtcnn import MtcnnDetector
from istvt.faces.track import DETECT_EVERY, FaceTracker
from istvt.presets import CropRecipe
from istvt.records import Frame
from istvt.video.cuts import CutDetector
from tests.faces.facenet_reference import make_reference

BLOCK_FRAMES, PAUSE_S = 25, 0.3
MIN_FACE_PX = CropRecipe.min_face_px


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--step", type=int, default=1, help="measure every k-th frame only")
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    with av.open(str(options.video)) as container:
        images = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
    images = images[:: options.step]
    print(f"{options.video.name}: {len(images)} frames, {options.threads} threads")
    print(f"{'':26}{'mean ms':>9}{'median':>9}{'cpu ms':>9}{'frames/s':>10}{'times':>7}{'cpu':>7}")
    rows = measure(ways_to_find_faces(options.threads), images)
    base_s, base_cpu_s = next(iter(rows.values())).mean(axis=0)
    for name, times_s in rows.items():
        (mean_s, cpu_s), median_s = times_s.mean(axis=0), np.median(times_s[:, 0])
        numbers = f"{mean_s * 1e3:9.2f}{median_s * 1e3:9.2f}{cpu_s * 1e3:9.2f}{1 / mean_s:10.1f}"
        print(f"{name:26}{numbers}{base_s / mean_s:7.1f}{base_cpu_s / cpu_s:7.1f}")


def ways_to_find_faces(threads):
    """What is compared: name to a function of `(image, index)`; the first is the reference."""
    reference = make_reference(threads=threads)
    detector = MtcnnDetector(threads=threads)
    streaming = MtcnnDetector(min_face_px=MIN_FACE_PX, threads=threads)
    return {
        "facenet-pytorch, 20 px": lambda image, index: reference.detect(image, landmarks=True),
        "detect, 20 px": lambda image, index: detector.detect(image),
        f"detect, {MIN_FACE_PX} px": lambda image, index: streaming.detect(image),
        f"track, 20 px, every {DETECT_EVERY}": tracking(detector),
        f"track, {MIN_FACE_PX} px, every {DETECT_EVERY}": tracking(streaming),
        "find cuts": lambda image, index, cuts=CutDetector(): cuts.is_cut(image),
    }


def tracking(detector):
    """Track with cuts, as the pipeline does."""
    tracker, cuts = FaceTracker(detector), CutDetector()

    def track(image, index):
        if cuts.is_cut(image):
            tracker.reset()
        tracker.update(Frame(image, index, index / 30, "benchmark"))

    return track


def measure(ways, images):
    """Elapsed and processor seconds of each way, `(frames, 2)`; the warm-up does not count."""
    for way in ways.values():
        for index, image in enumerate(images[:3]):
            way(image, index)
    times_s = {name: [] for name in ways}
    for start in range(0, len(images), BLOCK_FRAMES):
        for name, way in ways.items():
            time.sleep(PAUSE_S)
            for index, image in enumerate(images[start : start + BLOCK_FRAMES], start=start):
                started = time.perf_counter(), time.process_time()
                way(image, index)
                ended = time.perf_counter(), time.process_time()
                times_s[name].append(np.subtract(ended, started))
    return {name: np.array(values) for name, values in times_s.items()}


if __name__ == "__main__":
    main()
