"""Compute both attentions in Triton kernels, from projected `qkv` to mixed values.

Each kernel has one source and three uses: interpreted on a CPU (tests), compiled when called
(`ops`), and compiled ahead of time to PTX (`compile`).
"""
