"""Labelled windows in, a run folder with weights, curves and metrics out."""
