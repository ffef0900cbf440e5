"""Shuffled labels tell nothing."""

from dataclasses import replace

import pytest
import torch

from istvt.training.material import Material, choose_swapped, shuffle_labels
from tests.training.runs import RECIPE, make_split


@pytest.mark.parametrize("videos", [8, 9, 30])
@pytest.mark.parametrize("seed", [0, 1])
def test_labels_stay_as_many_and_have_nothing_to_do_with_the_truth(tmp_path, videos, seed):
    true = make_split(tmp_path, "train", videos=videos)
    dealt = shuffle_labels(true, seed)
    pairs = [(a.label, b.label) for a, b in zip(true.videos, dealt.videos, strict=True)]
    assert sum(b for _, b in pairs) == sum(a for a, _ in pairs)
    shares = [
        sum(b for a, b in pairs if a == label) / sum(a == label for a, _ in pairs)
        for label in (0, 1)
    ]
    assert abs(shares[0] - shares[1]) <= 1.1 / (videos // 2)
    assert [v.video.path for v in dealt.videos] == [v.video.path for v in true.videos]
    again = shuffle_labels(true, seed)
    assert [v.label for v in again.videos] == [b for _, b in pairs]


def test_another_seed_deals_otherwise(tmp_path):
    true = make_split(tmp_path, "train", videos=30)
    dealt = {tuple(v.label for v in shuffle_labels(true, seed).videos) for seed in range(4)}
    assert len(dealt) == 4


@pytest.mark.parametrize("fakes", ["self-blended", "mixed"])
def test_half_of_the_real_videos_have_their_pairs_swapped(tmp_path, fakes):
    split = make_split(tmp_path, "train", videos=16)
    assert len(choose_swapped(split, 0)) == 4
    recipe = replace(RECIPE, fakes=fakes, shuffle_labels=True, windows_per_video=2)
    plain = Material(split, replace(recipe, shuffle_labels=False)).draw(1)
    drawn = Material(split, recipe).draw(1)
    labels = torch.tensor([drawn[i][1] for i in range(len(drawn))]).view(-1, 2)
    true = torch.tensor([plain[i][1] for i in range(len(plain))]).view(-1, 2)
    assert (true == torch.tensor([0.0, 1.0])).all()
    assert (labels.sum(1) == 1).all()
    videos = [drawn.video_of_pair(2 * pair) for pair in range(len(labels))]
    swapped = {video: bool(own[0]) for video, own in zip(videos, labels, strict=True)}
    assert sum(swapped.values()) == 4
    assert len(swapped) == 8
    for pair, video in enumerate(videos):
        assert bool(labels[pair, 0]) == swapped[video]
    assert all(drawn[i][0].equal(plain[i][0]) for i in range(4))
