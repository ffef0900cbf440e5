"""torch.compile at its best, which tries kernels for every product, and what no target needs."""

from gpu_check.latency import checks_of

CHECKS = checks_of(("compiled, tuned", 1), ("compiled", 8), ("compiled, tuned", 8))
