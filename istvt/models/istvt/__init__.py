"""ISTVT in PyTorch: tensors in, tensors out; no files, no video."""
