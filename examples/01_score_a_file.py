"""Judge one recording, and print what was found.

python examples/01_score_a_file.py model.istvt clip.mp4
"""

import sys

import istvt


def main(bundle: str, clip: str) -> None:
    with istvt.open_model(bundle) as model:
        print(f"{model.info.backend} on {model.info.device} in {model.info.precision}")
        report = model.score(clip)
    print(f"{clip}: {report.verdict.kind.value} ({report.verdict.reason})")
    for track in report.tracks:
        shown = "-" if track.score is None else f"{track.score.fake_probability:.1%} fake"
        print(f"  face {track.track_id}, {track.start_s:.1f} to {track.end_s:.1f} s: {shown}")


if __name__ == "__main__":
    main(*sys.argv[1:])
