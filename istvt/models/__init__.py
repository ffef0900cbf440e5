"""Detectors in PyTorch: tensors only, no video."""
