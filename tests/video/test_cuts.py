import av
import numpy as np
import pytest

from istvt.video.cuts import CutDetector


def pictures(path):
    with av.open(str(path)) as container:
        for picture in container.decode(video=0):
            yield picture.to_ndarray(format="rgb24")


def cuts_in(images):
    detector = CutDetector()
    return [index for index, image in enumerate(images) if detector.is_cut(image)]


@pytest.fixture(scope="module")
def four_shots(media):
    return list(pictures(media / "stage_four_shots_640x360.mp4"))


def test_finds_the_three_cuts_and_no_others(four_shots):
    assert cuts_in(four_shots) == [20, 82, 211]


@pytest.mark.parametrize("step", [2, 3])
def test_finds_them_where_frames_were_dropped(four_shots, step):
    assert cuts_in(four_shots[::step]) == [-(-cut // step) for cut in (20, 82, 211)]


@pytest.mark.parametrize(
    "name",
    [
        "one_face_480x480.mp4",
        "head_turn_a.gif",
        "head_turn_b.gif",
        "head_turn_two_people.gif",
        "walking_small_faces.gif",
        pytest.param("no_face.mp4", marks=pytest.mark.slow),
    ],
)
def test_one_shot_has_no_cut(media, name):
    assert cuts_in(pictures(media / name)) == []


@pytest.mark.parametrize("light", [0.4, 1.8, 4.0, 8.0])
def test_a_flash_or_a_dimmed_light_is_no_cut(four_shots, light):
    shot = [image.copy() for image in four_shots[100:110]]
    for index in (4, 5):
        shot[index] = np.clip(shot[index] * light + light, 0, 255).astype(np.uint8)
    assert cuts_in(shot) == []


@pytest.mark.parametrize("level", [0, 255])
def test_blank_frames_within_a_shot_are_no_cut(four_shots, level):
    noise = np.random.default_rng(0).integers(0, 3, (3, 360, 640, 3))
    blank = [np.abs(level - frame).astype(np.uint8) for frame in noise]
    assert cuts_in([*four_shots[100:103], *blank, *four_shots[103:106]]) == []
    assert cuts_in([*four_shots[100:103], *blank, *four_shots[240:243]]) == [6]
