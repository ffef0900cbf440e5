"""Turn videos on disk into labelled windows of face crops."""
