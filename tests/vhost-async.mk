# Tests of copies to vhost ports by DMA, included by tests/automake.mk.

TESTSUITE_AT += tests/vhost-async.at

if VHOST_ASYNC
tests_ovstest_SOURCES += \
	tests/dma-test.h \
	tests/test-dma-defer.c \
	tests/test-dma-map.c
endif
