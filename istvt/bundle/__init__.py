"""Read and write a bundle on the edge device: manifest and engine records."""
