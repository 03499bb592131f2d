dnl OVS_CHECK_VHOST_ASYNC
dnl
dnl Chooses the completion engine for copies to vhost ports by DMA, and checks
dnl that the DPDK which OVS_CHECK_DPDK found, and which must have run before,
dnl has what the engine needs.  The interfaces are experimental in DPDK: the
dnl files that use them are compiled with VHOST_ASYNC_CFLAGS, no others.
AC_DEFUN([OVS_CHECK_VHOST_ASYNC], [
  AC_ARG_WITH([vhost-async],
              [AS_HELP_STRING([--with-vhost-async=defer|ring|rx|no],
                              [Completion engine for copies to vhost ports by
                              DMA (default: "defer" with DPDK, else "no")])],
              [vhost_async_asked=true],
              [with_vhost_async=auto])

  case "$with_vhost_async" in
    auto | yes)
      vhost_async=defer
      ;;
    defer | ring | rx | no)
      vhost_async=$with_vhost_async
      ;;
    *)
      AC_MSG_ERROR([--with-vhost-async=$with_vhost_async: unknown engine, use "defer", "ring" or "no" ("rx" is for comparison)])
      ;;
  esac

  vhost_async_lacks=
  if test "$vhost_async" != no; then
    if test "$DPDKLIB_FOUND" != true; then
      vhost_async_lacks="DPDK (configure --with-dpdk)"
    else
      OVS_VHOST_ASYNC_LACKS
    fi
  fi

  AC_MSG_CHECKING([for the completion engine of vhost async])
  if test -n "$vhost_async_lacks"; then
    if test "$vhost_async_asked" = true; then
      AC_MSG_RESULT([$vhost_async, impossible])
      AC_MSG_ERROR([--with-vhost-async=$vhost_async needs, and did not find: $vhost_async_lacks])
    fi
    vhost_async=no
  fi
  AC_MSG_RESULT([$vhost_async])
  if test -n "$vhost_async_lacks" && test "$DPDKLIB_FOUND" = true; then
    AC_MSG_WARN([vhost async is not built, since DPDK lacks: $vhost_async_lacks])
  fi

  if test "$vhost_async" != no; then
    AC_DEFINE([VHOST_ASYNC], [1], [Copies to vhost ports can be done by DMA.])
    AC_SUBST([VHOST_ASYNC_CFLAGS], [-DALLOW_EXPERIMENTAL_API])
  fi
  dnl The engine has a header of its own, so that builds which differ in it can
  dnl share all objects that do not look at it.
  AC_SUBST([VHOST_ASYNC_CHOICE],
           [VHOST_ASYNC_`echo "$vhost_async" | tr a-z A-Z`])
  AC_CONFIG_FILES([lib/vhost-async-choice.h])
  AM_CONDITIONAL([VHOST_ASYNC], [test "$vhost_async" != no])
  AM_CONDITIONAL([VHOST_ASYNC_DEFER], [test "$vhost_async" = defer])
  AM_CONDITIONAL([VHOST_ASYNC_RING], [test "$vhost_async" = ring])
  AM_CONDITIONAL([VHOST_ASYNC_RX], [test "$vhost_async" = rx])
])

dnl OVS_VHOST_ASYNC_LACKS
dnl
dnl Sets vhost_async_lacks to the headers, macros and functions of DPDK that
dnl are missing.  DPDK 22.11 has them all.
AC_DEFUN([OVS_VHOST_ASYNC_LACKS], [
  vhost_async_save_CFLAGS=$CFLAGS
  CFLAGS="$CFLAGS $DPDK_INCLUDE -DALLOW_EXPERIMENTAL_API"

  AC_CHECK_HEADERS([rte_dmadev.h rte_vhost_async.h], [],
    [vhost_async_lacks="$vhost_async_lacks $ac_header"],
    [#include <rte_config.h>])
  AC_CHECK_FUNCS(m4_normalize([
      rte_dma_next_dev
      rte_dma_vchan_setup
      rte_vhost_async_dma_configure
      rte_vhost_async_dma_unconfigure
      rte_vhost_async_channel_register
      rte_vhost_async_channel_unregister_thread_unsafe
      rte_vhost_async_get_inflight_thread_unsafe
      rte_vhost_clear_queue_thread_unsafe
      rte_vhost_extern_callback_register
      rte_vhost_poll_enqueue_completed
      rte_vhost_submit_enqueue_burst
    ]),
    [], [vhost_async_lacks="$vhost_async_lacks $ac_func()"])
  AC_CHECK_DECL([RTE_VHOST_USER_ASYNC_COPY], [],
    [vhost_async_lacks="$vhost_async_lacks RTE_VHOST_USER_ASYNC_COPY"],
    [#include <rte_config.h>
     #include <rte_vhost.h>])
  if test -z "$vhost_async_lacks"; then
    AC_MSG_CHECKING([whether vhost copies through a dmadev of DPDK])
    AC_COMPILE_IFELSE(
      [AC_LANG_PROGRAM([#include <rte_config.h>
                        #include <rte_mbuf.h>
                        #include <rte_dmadev.h>
                        #include <rte_vhost_async.h>],
        [struct rte_mbuf *m = 0; int16_t dma_id = 0; uint16_t vchan = 0;
         return rte_vhost_submit_enqueue_burst(0, 0, &m, 1, dma_id, vchan)
                + rte_vhost_poll_enqueue_completed(0, 0, &m, 1, dma_id, vchan)
                + rte_dma_burst_capacity(dma_id, vchan);])],
      [AC_MSG_RESULT([yes])],
      [AC_MSG_RESULT([no])
       vhost_async_lacks="rte_vhost_submit_enqueue_burst() with a dmadev (DPDK 22.07 or later)"])
  fi
  CFLAGS=$vhost_async_save_CFLAGS
])
