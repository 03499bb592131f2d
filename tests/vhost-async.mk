# Tests of copies to vhost ports by DMA, and what else is to be distributed
# with them; included by tests/automake.mk.

TESTSUITE_AT += tests/vhost-async.at
SYSTEM_DPDK_TESTSUITE_AT += \
	tests/system-dpdk-dma-macros.at \
	tests/system-dpdk-dma.at
EXTRA_DIST += \
	Documentation/topics/dpdk/vhost-async-ideal-cold.svg \
	Documentation/topics/dpdk/vhost-async-ideal-warm.svg \
	Documentation/topics/dpdk/vhost-async-real-cold.svg \
	Documentation/topics/dpdk/vhost-async-real-warm.svg \
	tests/dma-pcap.py \
	tests/vhost-async-lock.pml

if VHOST_ASYNC
tests_ovstest_SOURCES += \
	tests/dma-test.h \
	tests/test-dma-defer.c
endif
