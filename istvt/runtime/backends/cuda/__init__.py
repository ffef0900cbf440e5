"""Run graphs and engines on an NVIDIA GPU, with features kept in its memory."""
