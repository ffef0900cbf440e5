"""Define and load detectors in PyTorch; they handle tensors only, no video."""
