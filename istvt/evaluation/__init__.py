"""Measure a model on a split: scores, metrics, intervals, reports."""
