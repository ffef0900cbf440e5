from dataclasses import replace

import numpy as np
import pytest

from istvt.evaluation.intervals import measure_intervals
from istvt.evaluation.metrics import measure
from istvt.evaluation.summary import LEAST_PEOPLE, group_videos, summarise
from tests.evaluation.evaluations import evaluation, fake, real


def pairs(count, *, methods=("A", "B")):
    """As FaceForensics++: two people a pair, each swapped with the other by every method."""
    videos = []
    for pair in range(count):
        one, other = f"{2 * pair:03d}", f"{2 * pair + 1:03d}"
        videos += [real(2 * pair, one), real(2 * pair + 1, other)]
        for method in methods:
            videos.append(fake(2 * pair, one, other, method=method))
            videos.append(fake(2 * pair + 1, other, one, method=method))
    return videos


def scored(videos, *, windows=4):
    rng = np.random.default_rng(0)
    shift = [0.25 * video.label + 0.1 * (video.method == "A") for video in videos]
    return evaluation(videos, [0.6 * rng.random(windows) + own for own in shift])


def test_the_whole_is_what_was_evaluated():
    found = scored(pairs(12))
    summary = summarise(found, resamples=20)
    assert summary.whole.windows.metrics == found.windows
    assert summary.whole.videos.metrics == found.videos
    assert (summary.whole.fakes, summary.whole.reals) == (48, 24)
    assert (summary.unit, summary.groups, summary.resamples) == ("people", 12, 20)


def test_each_method_is_measured_against_all_reals():
    found = scored(pairs(12))
    summary = summarise(found, resamples=0)
    assert [part.method for part in summary.methods] == ["A", "B"]
    for part in summary.methods:
        rows = [
            i for i, s in enumerate(found.scores) if s.label == 0 or s.video.method == part.method
        ]
        labels = [found.scores[i].label for i in rows]
        assert part.videos.metrics == measure(
            labels, [found.scores[i].fake_probability for i in rows]
        )
        windows = [i for i, video in enumerate(found.video_of_window) if video in rows]
        assert part.windows.metrics == measure(
            [found.scores[found.video_of_window[i]].label for i in windows],
            found.fake_probabilities[windows],
        )
        assert (part.fakes, part.reals) == (24, 24)
        assert part.windows.intervals == part.videos.intervals == {}
    aucs = [part.windows.metrics.auc for part in summary.methods]
    assert aucs[0] > summary.whole.windows.metrics.auc > aucs[1]


def test_one_method_is_the_whole():
    assert summarise(scored(pairs(3, methods=("A",))), resamples=0).methods == ()


def test_intervals_are_over_people_not_over_windows():
    found = scored(pairs(12), windows=3)
    summary = summarise(found, resamples=50, seed=4)
    pair_of_video = [int(score.video.identities[0]) // 2 for score in found.scores]
    labels = np.array([score.label for score in found.scores])[found.video_of_window]
    expected = measure_intervals(
        [pair_of_video[video] for video in found.video_of_window],
        labels,
        found.fake_probabilities,
        resamples=50,
        seed=4,
    )
    assert summary.whole.windows.intervals == expected
    assert summarise(found, resamples=50, seed=5) != summary


def test_people_who_share_videos_are_one_group():
    videos = pairs(LEAST_PEOPLE + 2)
    assert len(set(group_videos(videos)[1].tolist())) == LEAST_PEOPLE + 2
    across = fake(99, "000", "002", method="A")  # ties the first pair to the second
    unit, groups = group_videos([*videos, across])
    assert unit == "people"
    assert len(set(groups.tolist())) == LEAST_PEOPLE + 1
    assert groups[0] == groups[6] == groups[-1]


def test_a_chain_of_swaps_is_one_group():
    people = [f"{i:02d}" for i in range(40)]
    chain = [fake(i, people[i], people[i + 1]) for i in reversed(range(39))]
    others = [real(100 + i, f"other{i}") for i in range(LEAST_PEOPLE)]
    unit, groups = group_videos([*chain, *others])
    assert unit == "people"
    assert len(set(groups[:39].tolist())) == 1
    assert len(set(groups.tolist())) == LEAST_PEOPLE + 1


@pytest.mark.parametrize("case", ["too few people", "a video without names"])
def test_otherwise_each_video_is_a_group(case):
    videos = pairs(LEAST_PEOPLE - 1) if case == "too few people" else pairs(LEAST_PEOPLE + 5)
    if case == "a video without names":
        videos[3] = replace(videos[3], identities=())
    unit, groups = group_videos(videos)
    assert unit == "videos"
    assert groups.tolist() == list(range(len(videos)))


def test_a_video_and_its_blends_are_one_group():
    videos = [real(0), real(1), real(0), real(1)]
    found = evaluation(videos, [[0.1], [0.2], [0.9], [0.8]], blended=[False, False, True, True])
    assert group_videos(videos)[1].tolist() == [0, 1, 0, 1]
    summary = summarise(found, resamples=30)
    assert (summary.groups, summary.whole.fakes, summary.whole.reals) == (2, 2, 2)
    assert summary.methods == ()
