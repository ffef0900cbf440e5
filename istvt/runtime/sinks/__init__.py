"""Show and record results: terminal, JSON lines, window, video file."""
