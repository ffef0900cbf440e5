"""Build TensorRT engines from a bundle's graphs, and compare them with those graphs."""
