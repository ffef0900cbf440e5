"""Keep a training on disk: recipe, checkpoints, metrics, curve."""
