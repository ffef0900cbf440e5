"""Names to splits: each by itself, and small sets so that no split lacks a label."""

from hypothesis import given
from hypothesis import strategies as st

from istvt.data.layouts.divide import divide
from istvt.data.layouts.manifest import SPLITS, Label

ONE_OR_BOTH = st.sampled_from([(Label.REAL,), (Label.FAKE,), tuple(Label)])


@given(st.dictionaries(st.text("ab0", max_size=4), ONE_OR_BOTH), st.integers(0, 9))
def test_each_split_gets_of_each_label_if_there_are_enough(
    labels_of: dict[str, tuple[Label, ...]], seed: int
) -> None:
    division = divide(labels_of, seed, splits=SPLITS)
    assert set(division.split_of) == set(labels_of) >= division.moved
    assert division == divide(dict(reversed(labels_of.items())), seed, splits=SPLITS)
    alone = [name for name, labels in labels_of.items() if len(labels) == 1]
    for label in Label:
        own = [name for name in labels_of if label in labels_of[name]]
        there = {division.split_of[name] for name in own}
        assert "train" in there or not own, "what few there are is trained on"
        if len([name for name in own if name in alone]) >= len(SPLITS):
            assert there == set(SPLITS)


@given(st.integers(40, 400), st.integers(1, 400), st.integers(0, 9))
def test_nobody_changes_the_split_when_others_are_added(count: int, more: int, seed: int) -> None:
    labels_of = {f"person {i}": tuple(Label) for i in range(count + more)}
    grown = divide(labels_of, seed, splits=SPLITS).split_of
    before = divide(dict(list(labels_of.items())[:count]), seed, splits=SPLITS)
    stayed = {name: split for name, split in before.split_of.items() if name not in before.moved}
    assert {name: grown[name] for name in stayed} == stayed
    assert len(before.moved) <= 2


def test_a_few_are_moved_from_where_they_can_be_spared() -> None:
    for seed in range(20):
        division = divide(dict.fromkeys("abc", ("any",)), seed, splits=SPLITS)
        assert sorted(division.split_of.values()) == sorted(SPLITS)
        assert len(division.moved) <= 2
    assert divide({}, 0, splits=SPLITS).split_of == {}
    assert divide({"a": ("any",)}, 0, splits=SPLITS).split_of == {"a": "train"}
