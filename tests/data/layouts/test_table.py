"""A user's own CSV: splits by person and source where it has none, errors that name the line."""

from pathlib import Path

import pytest

from istvt.data.layouts.choose import read_layout
from istvt.data.layouts.manifest import SPLITS, Label
from istvt.data.layouts.table import read_table
from istvt.errors import DataError
from tests.data.layouts.trees import touch


def write(folder: Path, *lines: str, missing: tuple[str, ...] = ()) -> Path:
    names = {line.split(",")[0] for line in lines[1:]} - set(missing)
    touch(folder, (name for name in names if name))
    path = folder / "videos.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_all_columns_are_read_from_the_folder_of_the_csv(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "label,path,split,identity,method,source",
        "real,r/a.mp4,train,ann,,",
        "FAKE,./f/b.mp4,train,ann + bob,swap,r/a.mp4",
        "1,f/c.mp4,Test,cid; dan,,",
        "0,r/d.mp4,val,,,",
    )
    touch(tmp_path, ("r/a.mp4", "f/b.mp4", "f/c.mp4", "r/d.mp4"))
    manifest = read_layout(path)
    assert (manifest.layout, manifest.root, manifest.notes) == ("csv", tmp_path, ())
    a, b, d, c = manifest.videos
    assert [v.label for v in (a, b, d, c)] == [Label.REAL, Label.FAKE, Label.REAL, Label.FAKE]
    assert [v.split for v in (a, b, d, c)] == ["train", "train", "val", "test"]
    assert (b.path, b.identities) == (tmp_path / "f/b.mp4", ("ann", "bob"))
    assert (b.method, b.source, c.source) == ("swap", tmp_path / "r/a.mp4", None)
    assert c.identities == ("cid", "dan")


def test_without_splits_people_and_sources_stay_together(tmp_path: Path) -> None:
    rows = []
    for i in range(10):
        rows += [
            f"{i}a.mp4,real,p{i},",
            f"{i}b.mp4,real,p{i},",
            f"{i}c.mp4,fake,p{i}+q{i},",
            f"{i}d.mp4,fake,q{i},",  # tied to p by the row before
            f"{i}e.mp4,real,,",
            f"{i}f.mp4,fake,,{i}e.mp4",
        ]
    path = write(tmp_path, "path,label,identity,source", *rows)
    manifest = read_table(path)
    assert {v.split for v in manifest.videos} == set(SPLITS)
    assert [(n.kind, n.count) for n in manifest.notes] == [("unnamed", 20)]
    of_name = {v.path.stem: v.split for v in manifest.videos}
    for i in range(10):
        assert len({of_name[f"{i}{x}"] for x in "abcd"}) == 1
        assert of_name[f"{i}e"] == of_name[f"{i}f"]
    assert read_table(path).videos == manifest.videos
    assert read_table(path, seed=1).videos != manifest.videos


def test_without_people_each_split_gets_of_each_label(tmp_path: Path) -> None:
    rows = [f"{i}.mp4,real" for i in range(30)] + [f"f{i}.mp4,fake" for i in range(3)]
    manifest = read_table(write(tmp_path, "path,label", *rows))
    assert {(c.split, c.label) for c in manifest.summary()} == {
        (split, label) for split in SPLITS for label in Label
    }
    notes = {one.kind: one.count for one in manifest.notes}
    assert notes["unnamed"] == 33
    assert notes["moved-group"] >= 1


def test_who_is_not_named_is_said(tmp_path: Path) -> None:
    """The files of FaceForensics++ in a table of two columns: their names alone tell the people."""
    reals = [f"{i:03}.mp4,real" for i in range(40)]
    fakes = [f"fakes/{i:03}_{i + 1:03}.mp4,fake" for i in range(0, 40, 2)]
    manifest = read_table(write(tmp_path, "path,label", *reals, *fakes))
    notes = {one.kind: one.count for one in manifest.notes}
    assert notes["unnamed"] == 60
    assert notes["shared-name"] > 5
    named = [f"{row},{row[:3]}" for row in reals] + [f"{r},{r[6:9]};{r[10:13]}" for r in fakes]
    assert read_table(write(tmp_path, "path,label,identity", *named)).notes == ()
    some = [f"{row[:-3]}" if row.startswith("03") else row for row in named]
    (first, *_) = read_table(write(tmp_path, "path,label,identity", *some)).notes
    assert (first.kind, first.count) == ("unnamed", 10)


def test_nobody_changes_the_split_as_more_files_come(tmp_path: Path) -> None:
    rows = [f"b{i}_{j}.mp4,{x},p{i}," for i in range(60) for j, x in enumerate(("real", "fake"))]
    rows += [f"n{i}.mp4,real,," for i in range(30)]
    header = "path,label,identity,source"
    before = read_table(write(tmp_path, header, *rows))
    assert {one.kind for one in before.notes} == {"unnamed"}
    rows += [f"a{i}.mp4,real,p{i}," for i in range(60)]  # sorts before all others of its person
    rows += [f"a{i}_of_n{i}.mp4,fake,,n{i}.mp4" for i in range(30)]
    rows += [f"new{i}.mp4,real,r{i}," for i in range(40)]
    after = {v.path: v.split for v in read_table(write(tmp_path, header, *rows)).videos}
    assert {v.path: after[v.path] for v in before.videos} == {
        v.path: v.split for v in before.videos
    }


def test_splits_do_not_depend_on_the_order_or_the_place(tmp_path: Path) -> None:
    rows = [f"{i}.mp4,real,p{i // 2}" for i in range(20)]
    one = read_table(write(tmp_path / "one", "path,label,identity", *rows))
    two = read_table(write(tmp_path / "two", "path,label,identity", *rows[::-1]))
    assert [(v.path.name, v.split) for v in one.videos] == [
        (v.path.name, v.split) for v in two.videos
    ]


def test_too_few_groups_ask_for_splits(tmp_path: Path) -> None:
    path = write(tmp_path, "path,label,identity", "a.mp4,0,x", "b.mp4,1,x+y", "c.mp4,0,y")
    with pytest.raises(DataError, match=r"3 videos are 1 groups: 3 are needed.*train, val, test"):
        read_table(path)


def test_own_splits_that_share_people_are_warned_of(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "path,label,split,identity,source",
        "a.mp4,real,train,ann,",
        "b.mp4,fake,test,ann,",
        "c.mp4,real,val,,",
        "d.mp4,fake,train,,c.mp4",
    )
    for splits in (SPLITS, ("train",)):
        notes = {
            one.kind: (one.count, one.examples) for one in read_table(path, splits=splits).notes
        }
        assert notes == {
            "shared-identity": (1, ("ann",)),
            "shared-source": (1, ("d.mp4",)),
        }


def test_missing_files_are_named_and_left_out(tmp_path: Path) -> None:
    rows = ("a.mp4,real,train", "no/b.mp4,fake,train", "c.mp4,real,train")
    path = write(tmp_path, "path,label,split", *rows, missing=("no/b.mp4", "c.mp4"))
    manifest = read_table(path)
    assert [v.path.name for v in manifest.videos] == ["a.mp4"]
    assert [(n.kind, n.count) for n in manifest.notes] == [("missing-video", 2)]
    (tmp_path / "c.mp4").symlink_to(tmp_path / "nowhere.mp4")
    assert [v.path.name for v in read_table(path).videos] == ["a.mp4"]
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(DataError, match=r"none of the 3 videos .*relative to"):
        read_table(path)


def test_a_column_that_is_not_read_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "path,label,split,identty", "a.mp4,real,train,ann")
    assert [str(n) for n in read_table(path).notes] == [
        "unknown-column: 1 columns are not read (identty)"
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("path;label", "a.mp4;real"), r"line 1: the header is `path;label`, expected .*commas"),
        (("a.mp4,real",), r"line 1: the header is `a.mp4,real`, expected each once, of path,label"),
        (("path,label,path", "a,0,b"), "line 1: the header is `path,label,path`"),
        (("path,label", "a.mp4,real", "b.mp4,maybe"), r"line 3: label is 'maybe', expected real"),
        (("path,label", ",real"), "line 2: the path is empty"),
        (("path,label", "a,b.mp4,real"), "line 2: not as many fields as the header"),
        (("path,label", "a.mp4"), "line 2: not as many fields as the header"),
        (("path,label,split", "a.mp4,0,dev"), "line 2: split is 'dev', expected train, val, test"),
        (("path,label,split", "a.mp4,0,train", "b.mp4,0,"), "line 3: split is ''"),
        (("path,label", "a.mp4,0", "./a.mp4,0"), r"line 3: .*a\.mp4 is in line 2 too: keep one"),
        (
            ("path,label", "a.mp4,0", "x/../a.mp4,1"),
            r"line 3: .*a\.mp4 is in line 2 too, as fake here and real there",
        ),
        (("path,label",), "holds no video"),
        (("",), "line 1: the header is ``"),
    ],
)
def test_an_error_names_the_line(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    path = tmp_path / "videos.csv"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=message):
        read_table(path)


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "videos.csv"
    path.write_bytes("path,label\nZoë.mp4,real\n".encode("latin-1"))
    with pytest.raises(DataError, match="cannot be read as a CSV in UTF-8"):
        read_table(path)
    path.write_bytes("\ufeffpath,label,split\r\nZoë.mp4,real,train\r\n".encode())
    touch(tmp_path, ("Zoë.mp4",))
    assert [v.path.name for v in read_table(path).videos] == ["Zoë.mp4"]
