"""FaceForensics++: official splits, all methods, one compression."""

import json
from pathlib import Path

import pytest

from istvt.data.layouts.choose import LayoutOptions, read_layout
from istvt.data.layouts.ffpp import read_ffpp
from istvt.data.layouts.manifest import Label, Note
from istvt.errors import DataError
from tests.data.layouts.trees import FFPP_METHODS, FFPP_PAIRS, make_ffpp, touch

FAKES = "manipulated_sequences"


def test_a_pair_gives_two_originals_and_both_fakes_of_each_method(ffpp: Path) -> None:
    manifest = read_ffpp(ffpp)
    assert manifest.notes == ()
    for split, pairs in FFPP_PAIRS.items():
        parts = {(c.label, c.method): c.videos for c in manifest.summary() if c.split == split}
        fakes = {(Label.FAKE, method): 2 * len(pairs) for method in FFPP_METHODS}
        assert parts == {(Label.REAL, ""): 2 * len(pairs), **fakes}


def test_a_fake_names_both_people_its_method_and_its_target(ffpp: Path) -> None:
    video = next(v for v in read_ffpp(ffpp).videos if v.path.stem == "720_672")
    assert (video.label, video.split, video.method) == (Label.FAKE, "val", "Deepfakes")
    assert video.identities == ("720", "672")
    assert video.source == ffpp / "original_sequences/youtube/c23/videos/720.mp4"
    real = next(v for v in read_ffpp(ffpp).videos if v.path.stem == "672")
    assert (real.label, real.identities, real.method, real.source) == (0, ("672",), "", None)


def test_only_the_asked_compression_and_methods_are_read(tmp_path: Path) -> None:
    data = make_ffpp(tmp_path, ("c23", "c40"))
    manifest = read_ffpp(data, compression="c40", methods=("FaceSwap", "Deepfakes"))
    assert {v.method for v in manifest.videos} == {"", "FaceSwap", "Deepfakes"}
    assert all("c40" in v.path.parts and "c23" not in v.path.parts for v in manifest.videos)
    assert len(manifest.videos) == 8 * 3


def test_only_the_asked_split_is_read(ffpp: Path) -> None:
    (ffpp / "original_sequences/youtube/c23/videos/071.mp4").unlink()
    manifest = read_ffpp(ffpp, splits=("test",))
    assert {v.split for v in manifest.videos} == {"test"}
    assert len(manifest.videos) == 12
    assert manifest.notes == ()


def test_missing_videos_are_counted_and_named(ffpp: Path) -> None:
    original = "original_sequences/youtube/c23/videos/071.mp4"
    fake = f"{FAKES}/FaceSwap/c23/videos/953_974.mp4"
    for name in (original, fake):
        (ffpp / name).unlink()
    manifest = read_ffpp(ffpp)
    assert manifest.notes == (Note("missing-video", 2, (fake, original)),)
    orphan = next(v for v in manifest.videos if v.path.stem == "071_054")
    assert orphan.source is None


def test_what_is_in_no_list_is_left_out_and_named(ffpp: Path) -> None:
    videos = f"{FAKES}/Deepfakes/c23/videos"
    touch(ffpp, (f"{videos}/071_720.mp4", f"{videos}/readme.txt", f"{videos}/071_054.avi"))
    # the .avi comes first by name: it is the official one's double, and one of the two stays
    manifest = read_ffpp(ffpp)
    assert manifest.notes == (
        Note("outside-splits", 1, (f"{videos}/071_720.mp4",)),
        Note("unknown-file", 2, (f"{videos}/071_054.mp4", f"{videos}/readme.txt")),
    )
    assert len(manifest.videos) == 48


def test_the_actors_of_deepfakedetection_are_left_out_and_counted(ffpp: Path) -> None:
    fake = f"{FAKES}/DeepFakeDetection/c23/videos/01_02__exit_phone_room__YVGY8LOK.mp4"
    touch(ffpp, (fake, "original_sequences/actors/c23/videos/01__exit_phone_room.mp4"))
    manifest = read_ffpp(ffpp)
    (one,) = manifest.notes
    assert (one.kind, one.count) == ("no-official-split", 2)
    assert len(manifest.videos) == 48
    with pytest.raises(DataError, match="DeepFakeDetection has no official split"):
        read_ffpp(ffpp, methods=("DeepFakeDetection",))


def test_an_unknown_method_lists_those_there(ffpp: Path) -> None:
    with pytest.raises(DataError, match=r"no method deepfakes .*there are Deepfakes, Face2Face"):
        read_ffpp(ffpp, methods=("deepfakes",))


def test_a_method_without_the_compression_is_named_or_refused(tmp_path: Path) -> None:
    data = make_ffpp(tmp_path)
    touch(data, (f"{FAKES}/Mine/c40/videos/071_054.mp4",))
    assert read_ffpp(data).notes == (Note("other-compression", 1, ("Mine",)),)
    with pytest.raises(DataError, match=r"Mine/c23/videos holds no video; Mine has c40"):
        read_ffpp(data, methods=("Mine",))


def test_a_compression_that_is_not_there_is_refused(ffpp: Path) -> None:
    with pytest.raises(DataError, match=r"no video in compression raw.*found c23"):
        read_ffpp(ffpp, compression="raw")
    with pytest.raises(DataError, match="compression is 'c0', expected raw, c23, c40"):
        read_ffpp(ffpp, compression="c0")


def test_missing_lists_say_where_they_come_from(ffpp: Path) -> None:
    (ffpp / "splits/val.json").unlink()
    with pytest.raises(DataError, match=r"splits/val\.json is missing: copy .*\[\[\"720\""):
        read_ffpp(ffpp)


def test_lists_beside_the_folders_are_found(ffpp: Path) -> None:
    for path in (ffpp / "splits").iterdir():
        path.rename(ffpp / path.name)
    assert len(read_ffpp(ffpp).videos) == 48


@pytest.mark.parametrize(
    "content", ["{", '{"a": 1}', "[]", '[["720"]]', '[["720", "67"]]', "[720, 672]"]
)
def test_a_list_of_another_form_is_refused(ffpp: Path, content: str) -> None:
    (ffpp / "splits/val.json").write_text(content)
    with pytest.raises(DataError, match=r"val\.json .*a list of pairs"):
        read_ffpp(ffpp)


def test_a_person_in_two_lists_is_refused(ffpp: Path) -> None:
    pairs = [*FFPP_PAIRS["test"], ("071", "974")]
    (ffpp / "splits/test.json").write_text(json.dumps(pairs))
    with pytest.raises(DataError, match=r"test\.json names 071, which train\.json"):
        read_ffpp(ffpp)


def test_a_split_left_with_none_is_refused(ffpp: Path) -> None:
    for path in ffpp.rglob("*.mp4"):
        if set(path.stem.split("_")) & {"720", "672"}:
            path.unlink()
    with pytest.raises(
        DataError, match=r"no video in val; it has 4 train/real(.|\n)*missing-video"
    ):
        read_layout(ffpp, LayoutOptions(), splits=("train", "val"))
    assert {v.split for v in read_layout(ffpp).videos} == {"train", "test"}
