"""Run a bundle in any of several runtimes, one module each."""
