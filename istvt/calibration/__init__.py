"""Derive activation ranges and the INT8 graph from calibration clips."""
