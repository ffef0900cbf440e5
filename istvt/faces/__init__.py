"""Frames in, tracked and aligned face crops out."""
