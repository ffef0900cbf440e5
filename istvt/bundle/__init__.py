"""Read and write what lies on the edge device: manifest and engine records."""
