"""The backends in the number formats that few would deploy on a GPU."""

from istvt.benchmarks.gpu_check.scorers import checks_of

CHECKS = checks_of("bf16", ("off", "on")) | checks_of("fp32", ("off", "on"))
