"""A PCI device that masters the bus behind an IOMMU: QEMU's edu, its driver, a
machine that has both, and what Open vSwitch does there."""
