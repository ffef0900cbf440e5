"""Choose a group of people to hold out, from videos that show people together."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence

from istvt.data.layouts.divide import rank
from istvt.data.layouts.manifest import Video

SHARE = (0.1, 0.2)  # of the people: at least, at most
PAIR = 2  # a fake shows two people, so this many may be held out, however few there are


def hold_out(videos: Sequence[Video], seed: int) -> frozenset[str]:
    """Choose people such that few videos show one of them together with somebody else.

    Such videos belong to no split. A fake shows two people. Where everybody was swapped with
    everybody, a random draw of people would cost most of the fakes. But swaps often stay within
    circles of similar people. So a group is grown from each person, always adding who is swapped
    most within it. The group that loses the smallest share wins. The seed decides between equals.

    Args:
        videos: each names at least one person.
        seed: another seed may choose others.

    Returns:
        A tenth to a fifth of the people, or a pair if they are few. They and the others each have
        videos of every label present. Empty where no group does.
    """
    together: dict[str, Counter[str]] = defaultdict(Counter)
    for video in videos:
        for person in video.identities:
            together[person].update(other for other in video.identities if other != person)
    order = {person: rank(person, seed) for person in together}
    labels = {video.label for video in videos}
    best: tuple[float, bytes, frozenset[str]] = (math.inf, b"", frozenset())
    for start in sorted(order, key=lambda person: order[person]):
        for group in _grow(start, together, order):
            inside = [video for video in videos if group.issuperset(video.identities)]
            outside = [video for video in videos if group.isdisjoint(video.identities)]
            if {v.label for v in inside} == labels == {v.label for v in outside}:
                lost = (len(videos) - len(inside) - len(outside)) / len(inside)
                best = min(best, (lost, order[start], group), key=lambda found: found[:2])
    return best[2]


def parts_have_labels(videos: Sequence[Video], people: Collection[str]) -> bool:
    """Return whether these people alone, and the others alone, have videos of each label."""
    group = frozenset(people)
    inside = {video.label for video in videos if group.issuperset(video.identities)}
    outside = {video.label for video in videos if group.isdisjoint(video.identities)}
    return bool(inside) and inside == outside == {video.label for video in videos}


def _grow(
    start: str, together: dict[str, Counter[str]], order: dict[str, bytes]
) -> Iterator[frozenset[str]]:
    """Add one person after another, each with the largest share of swaps within the group."""
    least = math.ceil(SHARE[0] * len(order))
    most = max(PAIR, least, math.floor(SHARE[1] * len(order)))
    group = {start}
    while True:
        if len(group) >= least:
            yield frozenset(group)
        others = order.keys() - group
        if len(group) == most or not others:
            return
        group.add(max(others, key=lambda one: (_share(together[one], group), order[one])))


def _share(partners: Counter[str], group: Collection[str]) -> float:
    return sum(partners[one] for one in group) / max(1, partners.total())
