"""Faces in, verdicts out, on whatever runs the graphs; imports without torch."""
