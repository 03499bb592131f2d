#!/bin/sh
# Installs what building, demonstrating, checking and measuring need, or the
# packages that are named, and only what is missing.  Shell, because Python may
# be among the missing.

set -u

# libdpdk-dev brings every DPDK driver, the software dmadev included;
# dpdk-dev brings dpdk-testpmd, which plays the guest.
build="openvswitch-source libdpdk-dev build-essential patch autoconf automake
       libtool pkg-config libssl-dev libcap-ng-dev libnuma-dev libunbound-dev
       python3 git"
run="dpdk-dev python3-scapy mount iproute2 iputils-ping ethtool procps openssl
     kmod"
bench="gnuplot-nox"
check="clang libclang-rt-dev flake8 spin python3-sphinx groff-base
       netcat-openbsd tcpdump qemu-system-x86 ipxe-qemu dnsmasq-base"

die() {
    echo "deps: $*" >&2
    exit 1
}

if [ "${1:-}" = --list ]; then
    echo $build $run $check $bench
    exit
fi

# As in debian.py.
table=$(dirname "$0")/releases
system=$(. /etc/os-release 2>/dev/null && echo "${ID:-?} ${VERSION_ID:--}")
awk -v found="$system" '!/^#/ { known["debian " $2] }
    END { exit !(found in known) }' "$table" ||
    die "this system is '${system:-unknown}', the series is for Debian" \
        "$(awk '!/^#/ { s = s ", " $1 } END { print substr(s, 3) }' "$table"):" \
        "run it there, a container or a VM will do."

missing=
for package in ${*:-$build $run $check $bench}; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

[ "$(id -u)" = 0 ] ||
    die "packages are missing and only root can install them; as root run:" \
        "apt-get install --no-install-recommends$missing"

echo "deps: installing$missing"
DEBIAN_FRONTEND=noninteractive
export DEBIAN_FRONTEND
mkdir -p out
log=out/deps.log
install() {
    # shellcheck disable=SC2086
    apt-get install -y -q --no-install-recommends $missing </dev/null
}
# A fresh machine has no package lists, an old one may have stale ones; only
# then is the slower update worth its time.
install >"$log" 2>&1 ||
    { apt-get update -q </dev/null && install; } >>"$log" 2>&1 || {
    tail -n 15 "$log" >&2
    die "apt-get could not install$missing: see $log, then run this again."
}
