# Copies to vhost ports by DMA, included by lib/automake.mk.
#
# A library of its own, because only these files may see experimental
# interfaces of DPDK.

EXTRA_DIST += \
	lib/dpif-netdev-dma-unixctl.man \
	lib/vhost-async-choice.h.in
MAN_FRAGMENTS += lib/dpif-netdev-dma-unixctl.man

if VHOST_ASYNC
noinst_LTLIBRARIES += lib/libvhostasync.la
lib_libopenvswitch_la_LIBADD += lib/libvhostasync.la
lib_libvhostasync_la_CFLAGS = $(VHOST_ASYNC_CFLAGS) $(AM_CFLAGS)
lib_libvhostasync_la_SOURCES = \
	lib/dma-defer-queue.h \
	lib/dpdk-dma-dev.c \
	lib/dpdk-dma-dev.h \
	lib/dpdk-dma-map.c \
	lib/dpdk-dma-map.h \
	lib/dpif-netdev-dma.c \
	lib/dpif-netdev-dma.h \
	lib/netdev-dpdk-async-migrate.c \
	lib/netdev-dpdk-async-migrate.h \
	lib/netdev-dpdk-async.c \
	lib/netdev-dpdk-async.h \
	lib/vhost-async-copy.c \
	lib/vhost-async-copy.h \
	lib/vhost-async-engine.h \
	lib/vhost-async-message.c \
	lib/vhost-async-message.h \
	lib/vhost-async-txq.c \
	lib/vhost-async-txq.h \
	lib/vhost-async-work.c \
	lib/vhost-async-work.h
if VHOST_ASYNC_DEFER
lib_libvhostasync_la_SOURCES += lib/vhost-async-defer.c
endif
if VHOST_ASYNC_RING
lib_libvhostasync_la_SOURCES += lib/vhost-async-ring.c
endif
if VHOST_ASYNC_RX
lib_libvhostasync_la_SOURCES += lib/vhost-async-rx.c
endif
endif
