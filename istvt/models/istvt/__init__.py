"""Implement ISTVT in PyTorch, on tensors only: no files, no video."""
