"""Detect, track, align and crop faces."""
