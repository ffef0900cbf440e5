"""Keep a training on disk: its recipe, checkpoints, metrics and curve."""
