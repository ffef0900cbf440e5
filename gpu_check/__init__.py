"""A machine with an NVIDIA GPU in, a table out of all that a CPU cannot show."""
