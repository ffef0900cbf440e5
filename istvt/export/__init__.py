"""Export a run as a bundle of checked ONNX graphs."""
