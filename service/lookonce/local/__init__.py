"""A real Triton on this machine, from its wheel, without a container."""
