"""Projected `qkv` in, mixed values out: both attentions as Triton kernels of our own.

One source each, for three uses: interpreted on a CPU (tests), compiled when called (`ops`), and
compiled ahead of time to PTX (`compile`).
"""
