"""Tests: what DPDK's drivers ioat and idxd do, on devices in memory."""
