"""Groups of videos that belong together in, the split of each group out; the same for a seed."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

from istvt.data.manifest import Video

HELD_OUT = 0.1  # of the groups, for val and again for test


def rank(name: str, seed: int) -> bytes:
    """Give a name its place in an order that is random, and the same on every machine."""
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()


def split_by_rank(names: Iterable[str], seed: int, *, splits: Sequence[str]) -> dict[str, str]:
    """Give the first split all but a tenth of the names for each of the others.

    From as many names as splits on, each split gets one at least; below that, the first ones do.
    """
    ordered = sorted(set(names), key=lambda name: rank(name, seed))
    held = max(1, round(HELD_OUT * len(ordered)))
    found = dict.fromkeys(ordered, splits[0])
    end = len(ordered)
    for split in splits[1:]:
        start = max(1, end - held)
        found.update(dict.fromkeys(ordered[start:end], split))
        end = start
    return found


def split_alike(
    kinds: Mapping[str, Hashable], seed: int, *, splits: Sequence[str]
) -> dict[str, str]:
    """Split names by rank within each kind, so that small kinds reach every split too."""
    of_kind: dict[Hashable, list[str]] = defaultdict(list)
    for name, kind in kinds.items():
        of_kind[kind].append(name)
    return {
        name: split
        for names in of_kind.values()
        for name, split in split_by_rank(names, seed, splits=splits).items()
    }


def group_videos(videos: Collection[Video]) -> list[list[Video]]:
    """Join the videos that share a person or a source, through others too."""
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
