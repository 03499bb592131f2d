"""DMA devices in memory for DPDK's own drivers, ioat and idxd: how to build
them, and tests of what the drivers do."""
