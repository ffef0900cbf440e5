"""The names of video files: what counts as one in a folder of data or of recordings."""

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif", ".m4v", ".mpg"})
