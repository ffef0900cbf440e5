import subprocess
import sys

import numpy as np
import pytest

from istvt.errors import BundleError, UsageError
from istvt.faces.mtcnn import MtcnnDetector
from tests.faces.facenet_reference import make_reference, reference_faces

TOLERANCE_PX = 2.0


@pytest.fixture(scope="module")
def reference():
    return make_reference()


def assert_same_faces(detector, reference, image, *, where):
    found = detector.detect(image)
    boxes, probabilities, landmarks = reference_faces(reference, image)
    assert len(found) == len(boxes), where
    for face, box, probability, points in zip(found, boxes, probabilities, landmarks, strict=True):
        assert np.abs(face.box_xyxy - box).max() < TOLERANCE_PX, where
        assert np.abs(face.landmarks - points).max() < TOLERANCE_PX, where
        assert face.confidence == pytest.approx(probability, abs=0.01), where
    return len(found)


@pytest.mark.parametrize(
    ("name", "step", "least_faces"),
    [
        ("two_people.jpg", 1, 2),
        ("one_portrait.jpg", 1, 1),
        ("one_face_480x480.mp4", 80, 3),
        ("stage_four_shots_640x360.mp4", 40, 6),
        ("head_turn_a.gif", 8, 3),
        ("head_turn_b.gif", 25, 3),
        ("head_turn_two_people.gif", 25, 4),
        ("walking_small_faces.gif", 12, 1),
        ("no_face.mp4", 500, 0),
    ],
)
def test_agrees_with_facenet_on_real_pictures(detector, reference, frames, name, step, least_faces):
    faces = sum(
        assert_same_faces(detector, reference, frame.image, where=f"{name} frame {frame.index}")
        for frame in frames(name, step)
    )
    assert faces >= least_faces


@pytest.mark.parametrize("shift_px", [(130, 0), (0, 100), (-150, -60), (60, 60)])
def test_agrees_with_facenet_where_a_face_touches_the_border(detector, reference, frames, shift_px):
    image = frames("one_face_480x480.mp4", 80)[1].image
    moved = np.roll(image, shift_px, axis=(1, 0))
    cut = moved[max(shift_px[1], 0) : 480 + min(shift_px[1], 0)]
    cut = np.ascontiguousarray(cut[:, max(shift_px[0], 0) : 480 + min(shift_px[0], 0)])
    assert_same_faces(detector, reference, cut, where=f"shifted by {shift_px}")


def test_agrees_with_facenet_under_other_settings(detector_folder, frames):
    settings = {"thresholds": (0.5, 0.6, 0.9), "factor": 0.8}
    ours = MtcnnDetector(detector_folder, min_face_px=35, threads=2, **settings)
    theirs = make_reference(min_face_size=35, **settings)
    image = frames("stage_four_shots_640x360.mp4", 40)[6].image
    assert assert_same_faces(ours, theirs, image, where="audience") >= 2


def test_largest_face_comes_first(detector, frames):
    faces = detector.detect(frames("stage_four_shots_640x360.mp4", 40)[6].image)
    widths = [face.box_xyxy[2] - face.box_xyxy[0] for face in faces]
    assert widths == sorted(widths, reverse=True)
    assert len(widths) >= 2


def test_landmarks_are_named_as_seen_in_the_picture(detector, frames):
    face = detector.detect(frames("one_portrait.jpg")[0].image)[0]
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < nose[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]


def test_refine_finds_the_face_again_near_its_box(detector, frames):
    image = frames("one_face_480x480.mp4", 80)[1].image
    (face,) = detector.detect(image)
    side = face.box_xyxy[2] - face.box_xyxy[0]
    for shift in (-0.1, 0.0, 0.1):
        (again,) = detector.refine(image, face.box_xyxy[None] + shift * side)
        assert np.abs(again.box_xyxy - face.box_xyxy).max() < 0.08 * side
        assert np.abs(again.landmarks - face.landmarks).max() < 0.05 * side


def test_refine_answers_for_every_box_in_order(detector, frames):
    image = frames("two_people.jpg")[0].image
    faces = detector.detect(image)
    wall, outside = [0, 0, 60, 60], [5000, 5000, 5100, 5100]
    boxes = np.array([wall, faces[1].box_xyxy, outside, faces[0].box_xyxy], np.float32)
    found = detector.refine(image, boxes)
    assert found[0] is None
    assert found[2] is None
    assert np.abs(found[1].box_xyxy - faces[1].box_xyxy).max() < 20
    assert np.abs(found[3].box_xyxy - faces[0].box_xyxy).max() < 20
    assert detector.refine(image, np.zeros((0, 4), np.float32)) == []
    assert detector.refine(image, boxes[2:3]) == [None]


@pytest.mark.parametrize("shape", [(20, 20, 3), (20, 900, 3), (19, 400, 3), (1, 1, 3)])
def test_tiny_pictures_hold_no_face(detector, shape):
    assert detector.detect(np.full(shape, 128, np.uint8)) == []


@pytest.mark.parametrize("size_px", [12, 40, 47, 94])  # 47 x (12 / 47) is a little below 12
def test_a_picture_of_the_least_size_is_searched(detector_folder, size_px):
    detector = MtcnnDetector(detector_folder, min_face_px=size_px, threads=1)
    assert detector.detect(np.full((size_px, 60 + size_px, 3), 128, np.uint8)) == []


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((50, 50, 3), np.float32), "float32.*uint8"),
        (np.zeros((50, 50), np.uint8), r"\(50, 50\).*\(H, W, 3\)"),
        (np.zeros((3, 50, 50), np.uint8), r"\(3, 50, 50\).*\(H, W, 3\)"),
        ([[1, 2, 3]], "list.*uint8"),
    ],
)
def test_other_pictures_are_refused(detector, image, message):
    with pytest.raises(UsageError, match=message):
        detector.detect(image)
    with pytest.raises(UsageError, match=message):
        detector.refine(image, np.zeros((1, 4), np.float32))


@pytest.mark.parametrize("boxes", [np.zeros(4), np.zeros((2, 5)), np.full((1, 4), np.nan)])
def test_other_boxes_are_refused(detector, boxes):
    with pytest.raises(UsageError, match="boxes"):
        detector.refine(np.zeros((50, 50, 3), np.uint8), boxes)


@pytest.mark.parametrize(
    "options", [{"min_face_px": 5}, {"thresholds": (0.6, 1.7, 0.7)}, {"factor": 1.0}]
)
def test_arguments_out_of_range_are_refused(detector_folder, options):
    with pytest.raises(UsageError, match=next(iter(options))):
        MtcnnDetector(detector_folder, **options)


def test_folder_without_networks_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"no face detector.*pnet\.onnx"):
        MtcnnDetector(tmp_path)


def test_broken_network_is_named(tmp_path, detector_folder):
    for path in detector_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:100])
    with pytest.raises(BundleError, match=r"pnet\.onnx cannot be loaded"):
        MtcnnDetector(tmp_path)


def test_detecting_loads_no_torch(detector_folder):
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from istvt.faces.mtcnn import MtcnnDetector\n"
        "MtcnnDetector(Path(sys.argv[1])).detect(np.zeros((99, 99, 3), np.uint8))\n"
        "sys.exit('torch' in sys.modules or 'onnx' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(detector_folder)], check=True)
