"""A dmadev of DPDK for tests and benchmarks that models an engine: its driver,
how to build it, and how to have it fail."""
