# Copies to vhost ports by DMA, included by lib/automake.mk.
#
# A convenience library, since lib/automake.mk includes this before it lists
# the sources of libopenvswitch.

EXTRA_DIST += \
	lib/dpif-netdev-dma-unixctl.man \
	lib/vhost-async-choice.h.in
MAN_FRAGMENTS += lib/dpif-netdev-dma-unixctl.man

if VHOST_ASYNC
noinst_LTLIBRARIES += lib/libvhostasync.la
lib_libopenvswitch_la_LIBADD += lib/libvhostasync.la
lib_libvhostasync_la_SOURCES = \
	lib/dma-defer-queue.h \
	lib/dpdk-dma-chan.c \
	lib/dpdk-dma-chan.h \
	lib/dpdk-dma-cost.c \
	lib/dpdk-dma-cost.h \
	lib/dpdk-dma-dev.c \
	lib/dpdk-dma-dev.h \
	lib/dpdk-dma-map.c \
	lib/dpdk-dma-map.h \
	lib/dpdk-dma-probe.c \
	lib/dpdk-dma-probe.h \
	lib/dpif-netdev-dma-show.c \
	lib/dpif-netdev-dma-show.h \
	lib/dpif-netdev-dma.c \
	lib/dpif-netdev-dma.h \
	lib/netdev-dpdk-async-stats.c \
	lib/netdev-dpdk-async.c \
	lib/netdev-dpdk-async.h \
	lib/vhost-async-copy.c \
	lib/vhost-async-copy.h \
	lib/vhost-async-cost.c \
	lib/vhost-async-cost.h \
	lib/vhost-async-dpdk-compat.h \
	lib/vhost-async-engine-txq.h \
	lib/vhost-async-engine.h \
	lib/vhost-async-guest.c \
	lib/vhost-async-guest.h \
	lib/vhost-async-helper.c \
	lib/vhost-async-helper.h \
	lib/vhost-async-message.h \
	lib/vhost-async-old-mem.c \
	lib/vhost-async-old-mem.h \
	lib/vhost-async-port.c \
	lib/vhost-async-port.h \
	lib/vhost-async-receive.c \
	lib/vhost-async-receive.h \
	lib/vhost-async-rings.c \
	lib/vhost-async-rings.h \
	lib/vhost-async-rxq.c \
	lib/vhost-async-rxq.h \
	lib/vhost-async-thread.c \
	lib/vhost-async-thread.h \
	lib/vhost-async-trial.c \
	lib/vhost-async-trial.h \
	lib/vhost-async-txq.c \
	lib/vhost-async-txq.h \
	lib/vhost-async-vq-kinds.h \
	lib/vhost-async-vq.c \
	lib/vhost-async-vq.h \
	lib/vhost-guest-mem.c \
	lib/vhost-guest-mem.h \
	lib/vhost-guest-pages.c \
	lib/vhost-guest-pages.h \
	lib/vhost-net-hdr.h \
	lib/vhost-net-offload.h \
	lib/vhost-vring-layout.h \
	lib/vhost-vring-packed.c \
	lib/vhost-vring-split.c \
	lib/vhost-vring.c \
	lib/vhost-vring.h

if VHOST_ASYNC_DEFER
lib_libvhostasync_la_SOURCES += lib/vhost-async-defer.c
endif
if VHOST_ASYNC_RING
lib_libvhostasync_la_SOURCES += lib/vhost-async-ring.c
endif
endif
