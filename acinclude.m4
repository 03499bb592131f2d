dnl OVS_CHECK_VHOST_ASYNC
dnl
dnl Chooses the completion engine for copies to vhost ports by DMA, and checks
dnl that the DPDK which OVS_CHECK_DPDK found, and which must have run before,
dnl has what the engine needs.
AC_DEFUN([OVS_CHECK_VHOST_ASYNC], [
  AC_ARG_WITH([vhost-async],
              [AS_HELP_STRING([--with-vhost-async=defer|ring|no],
                              [Completion engine for copies to vhost ports by
                              DMA (default: "defer" with DPDK, else "no")])],
              [vhost_async_asked=true],
              [with_vhost_async=auto])

  case "$with_vhost_async" in
    auto | yes)
      vhost_async=defer
      ;;
    defer | ring | no)
      vhost_async=$with_vhost_async
      ;;
    *)
      AC_MSG_ERROR([--with-vhost-async=$with_vhost_async: unknown engine, use "defer", "ring" or "no"])
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
    dnl Open vSwitch 3.4 and later.
    AS_IF([grep -q unixctl_command_reply_json "$srcdir/lib/unixctl.h"],
          [AC_DEFINE([HAVE_UNIXCTL_JSON], [1],
                     [Commands of ovs-appctl can answer by JSON.])])
  fi
  dnl The engine has a header of its own, so that builds which differ in it can
  dnl share all objects that do not look at it.
  AC_SUBST([VHOST_ASYNC_CHOICE],
           [VHOST_ASYNC_`echo "$vhost_async" | tr a-z A-Z`])
  AC_CONFIG_FILES([lib/vhost-async-choice.h])
  AM_CONDITIONAL([VHOST_ASYNC], [test "$vhost_async" != no])
  AM_CONDITIONAL([VHOST_ASYNC_DEFER], [test "$vhost_async" = defer])
  AM_CONDITIONAL([VHOST_ASYNC_RING], [test "$vhost_async" = ring])
])

dnl OVS_VHOST_ASYNC_LACKS
dnl
dnl Sets vhost_async_lacks to the headers and functions of DPDK that are
dnl missing.  DPDK 22.11 has them all.
AC_DEFUN([OVS_VHOST_ASYNC_LACKS], [
  vhost_async_save_CFLAGS=$CFLAGS
  CFLAGS="$CFLAGS $DPDK_INCLUDE"

  AC_CHECK_HEADERS([rte_dmadev.h rte_vhost.h], [],
    [vhost_async_lacks="$vhost_async_lacks $ac_header"],
    [#include <rte_config.h>])
  AC_CHECK_FUNCS(m4_normalize([
      rte_dma_next_dev
      rte_dma_vchan_setup
      rte_vhost_extern_callback_register
      rte_vhost_get_mem_table
      rte_vhost_set_vring_base
    ]),
    [], [vhost_async_lacks="$vhost_async_lacks $ac_func()"])
  CFLAGS=$vhost_async_save_CFLAGS
])
