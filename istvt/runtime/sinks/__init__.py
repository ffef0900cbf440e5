"""Verdicts in; terminal, JSON lines, window or video file out."""
