"""Train a model on labelled windows, and write weights, curves and metrics to a run folder."""
