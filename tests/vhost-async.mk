# Tests of copies to vhost ports by DMA, and what else is to be distributed
# with them; included by tests/automake.mk.

TESTSUITE_AT += tests/vhost-async.at
SYSTEM_DPDK_TESTSUITE_AT += \
	tests/system-dpdk-dma-macros.at \
	tests/system-dpdk-dma.at \
	tests/system-dpdk-dma-ports.at \
	tests/system-dpdk-dma-threads.at \
	tests/system-dpdk-dma-config.at
EXTRA_DIST += \
	tests/dma-doc.py \
	tests/dma-pcap.py \
	tests/fuzz-vhost-vring.c \
	tests/vhost-async-lock.pml \
	tests/vhost-async-rxq-lock.pml

if VHOST_ASYNC
tests_ovstest_SOURCES += \
	tests/dma-chan-fixture.h \
	tests/dma-chan-sources.h \
	tests/dma-dev-fixture.h \
	tests/dma-map-fixture.h \
	tests/dma-test.h \
	tests/fake-dmadev.h \
	tests/fake-guest-ring.h \
	tests/fake-guest-vm.h \
	tests/fake-vhost-lib-calls.h \
	tests/fake-vhost-lib.h \
	tests/lib-sources.h \
	tests/test-dma-chan-errors.c \
	tests/test-dma-chan-hang.c \
	tests/test-dma-chan.c \
	tests/test-dma-cost.c \
	tests/test-dma-defer.c \
	tests/test-dma-dev-failure.c \
	tests/test-dma-dev.c \
	tests/test-dma-map-pins.c \
	tests/test-dma-map-random.c \
	tests/test-dma-map-threads.c \
	tests/test-dma-map.c \
	tests/test-dma-probe.c \
	tests/test-vhost-cost.c \
	tests/test-vhost-engine-benchmark.c \
	tests/test-vhost-engine.c \
	tests/test-vhost-guest-mem-pages.c \
	tests/test-vhost-guest-mem-vfio.c \
	tests/test-vhost-guest-mem.c \
	tests/test-vhost-guest-port.c \
	tests/test-vhost-guest-rings.c \
	tests/test-vhost-guest-rx.c \
	tests/test-vhost-guest-shown.c \
	tests/test-vhost-guest-stats.c \
	tests/test-vhost-guest-take-over.c \
	tests/test-vhost-guest.c \
	tests/test-vhost-rxq-guest.c \
	tests/test-vhost-rxq-offload.c \
	tests/test-vhost-rxq-threads.c \
	tests/test-vhost-rxq.c \
	tests/test-vhost-thread.c \
	tests/test-vhost-trial.c \
	tests/test-vhost-txq-guest.c \
	tests/test-vhost-txq-in-flight.c \
	tests/test-vhost-txq.c \
	tests/test-vhost-vring-invalid.c \
	tests/test-vhost-vring-map.c \
	tests/test-vhost-vring-notify.c \
	tests/test-vhost-vring.c \
	tests/vhost-cost-fixture.h \
	tests/vhost-data-path.h \
	tests/vhost-engine-fixture.h \
	tests/vhost-guest-fixture.h \
	tests/vhost-guest-mem-fixture.h \
	tests/vhost-guest-sources.h \
	tests/vhost-ring-cases.h \
	tests/vhost-ring-fixture.h \
	tests/vhost-rxq-fixture.h \
	tests/vhost-thread-fixture.h \
	tests/vhost-txq-fixture.h \
	tests/vhost-vring-fixture.h \
	tests/vhost-vring-sources.h
endif
