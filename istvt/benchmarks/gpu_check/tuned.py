"""torch.compile at its best: it tries kernels for every product, which takes minutes."""

from istvt.benchmarks.gpu_check.latency import checks_of

CHECKS = checks_of(("compiled, tuned",))
