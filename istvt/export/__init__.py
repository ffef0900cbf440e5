"""A run in, a bundle of checked ONNX graphs out."""
