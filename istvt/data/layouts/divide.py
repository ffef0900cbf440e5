"""Assign groups of videos that belong together to splits, the same for a given seed.

A group's split follows from its name alone, so it stays the same when other groups are added. There
are two exceptions: a new video, such as a fake of two people, joins two groups, or a split would
lack a label.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

from istvt.data.layouts.manifest import Video

HELD_OUT = 0.1  # of the groups, for val and again for test


@dataclass(frozen=True)
class Division:
    """The split of each name, and the names that were moved to a split that lacked a label."""

    split_of: dict[str, str]
    moved: frozenset[str]


def rank(name: str, seed: int) -> bytes:
    """Place a name in an order that is random, and the same on every machine."""
    return hashlib.sha256(f"{seed}\0{name}".encode(errors="surrogatepass")).digest()


def divide(
    labels_of: Mapping[str, Collection[Hashable]], seed: int, *, splits: Sequence[str]
) -> Division:
    """Assign names to splits by a hash: a tenth to each later split, the rest to the first.

    A split that would lack a label receives the name nearest to its range of the hash. The name
    comes from a split that can spare it. An earlier split may take the last one of a later split.

    Args:
        labels_of: the labels of each name's videos.
        seed: another seed gives other splits.
        splits: in order.
    """
    place = {name: int.from_bytes(rank(name, seed)[:8], "big") / 2**64 for name in labels_of}
    starts = [0.0, *(1 - HELD_OUT * left for left in range(len(splits) - 1, 0, -1))]
    at = {name: sum(place[name] >= start for start in starts) - 1 for name in labels_of}
    counts = Counter((at[name], label) for name in labels_of for label in labels_of[name])
    moved: set[str] = set()

    def is_spare(name: str) -> bool:
        return all(counts[at[name], label] > 1 for label in labels_of[name])

    for split in range(len(splits)):
        middle = (starts[split] + [*starts, 1.0][split + 1]) / 2
        for label in sorted({label for its in labels_of.values() for label in its}, key=str):
            if counts[split, label]:
                continue
            able = [
                n for n in labels_of if label in labels_of[n] and (is_spare(n) or at[n] > split)
            ]
            if not able:
                continue
            name = min(able, key=lambda n: (abs(place[n] - middle), n))
            counts.subtract((at[name], its) for its in labels_of[name])
            at[name] = split
            counts.update((split, its) for its in labels_of[name])
            moved.add(name)
    return Division({name: splits[at[name]] for name in labels_of}, frozenset(moved))


def group_videos(videos: Collection[Video]) -> list[list[Video]]:
    """Group the videos that share a person or a source, directly or through other videos."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for video in videos:
        own = f"path {video.path}"
        keys = [f"identity {name}" for name in video.identities]
        for key in [*keys, f"path {video.source}"] if video.source else keys:
            parent[root(key)] = root(own)
    groups: dict[str, list[Video]] = defaultdict(list)
    for video in videos:
        groups[root(f"path {video.path}")].append(video)
    return list(groups.values())
