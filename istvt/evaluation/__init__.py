"""Turn a model and a split into numbers: scores, metrics, intervals, reports."""
