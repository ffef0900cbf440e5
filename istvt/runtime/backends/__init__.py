"""One module for each runtime that can run a bundle."""
