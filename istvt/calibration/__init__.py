"""Clips in, the ranges of activations and the INT8 graph that they give out."""
