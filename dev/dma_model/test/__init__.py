"""Tests of the driver dma_model by itself."""
