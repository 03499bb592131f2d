# Targets for people; what they do is in dev/.  'make' alone lists them.

ENGINE ?= defer
# 'make check' does both engines, unless one is asked for.
CHECK_ENGINES = $(if $(filter file,$(origin ENGINE)),defer ring,$(ENGINE))
CHECK = $(PYTHON) -m dev.check $(addprefix --engine=,$(CHECK_ENGINES))
PYTHON = /usr/bin/python3

.PHONY: help deps src build demo check check-style check-unit check-sanitize \
        check-tsan check-fuzz check-system check-packets check-faults \
        check-spin check-model check-drivers check-unused check-ovs \
        check-bench check-guests check-iommu coverage soak long-use fuzz \
        bench bench-quick bench-drivers bench-compare bench-engines \
        series deb deb-again check-deb clean

help:
	@echo "Targets (ENGINE=defer unless given; ring and no are the others;"
	@echo "the checks are for defer and ring unless one is given;"
	@echo "RELEASE=bookworm, trixie or sid: on that release of Debian, in a"
	@echo "chroot if it is not this machine's, as root):"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 \2/p' Makefile | \
	    awk '{t = $$2; $$1 = $$2 = ""; printf "  make %-15s%s\n", t, $$0}'

HOST = $(shell $(PYTHON) -m dev.release 2>/dev/null)

# On another release than this machine has: the same, in a chroot of it.
ifneq ($(if $(RELEASE),$(filter-out $(HOST),$(RELEASE))),)
$(filter-out help check-deb,$(MAKECMDGOALS)):
	@$(PYTHON) -m dev.release.chroot '$(RELEASE)' '$@'
else

deps: ## install the packages that are missing (as root)
	@sh dev/release/deps.sh

src: deps ## out/src: the OVS source with our files and hooks
	@$(PYTHON) -m dev.ovs.tree src

build: deps ## out/$(ENGINE): that source, built with DPDK
	@$(PYTHON) -m dev.ovs.tree build '$(ENGINE)'

# MODEL=dma_model0,latency_us=5,gbps=30 is another engine for the demo, and
# DRIVER=ioat or idxd is a driver of DPDK on a device in memory, with IOVA=pa by
# physical addresses.
DEMO = $(PYTHON) -m dev.demo --engine '$(ENGINE)' \
    $(if $(MODEL),--model '$(MODEL)') $(if $(DRIVER),--driver '$(DRIVER)') \
    $(if $(IOVA),--iova '$(IOVA)')

demo: deps ## real traffic to a guest through a DMA channel (as root)
	@$(DEMO) --preflight
	@$(if $(MODEL),$(PYTHON) -m dev.dma_model)
	@$(if $(DRIVER),$(PYTHON) -m dev.dma_devices)
	@$(PYTHON) -m dev.ovs.tree build '$(ENGINE)'
	@$(DEMO) --build 'out/$(ENGINE)'

check: deps ## the tests, with a selection of check-system, check-faults, check-guests and check-iommu; ends with one line that sums them; SUITES="style unit" are these alone (as root)
	@$(CHECK) $(SUITES)

check-style: deps ## checkpatch, flake8, clang and gcc warnings, other configurations
check-unit: deps ## unit tests
check-sanitize: deps ## unit tests under address and undefined-behaviour sanitizers
check-tsan: deps ## completion engines and rxqs in several threads, under ThreadSanitizer
check-fuzz: deps ## what guests may write to rings, by libFuzzer, for a minute
check-system: deps ## all tests with real vhost-user, virtio-user and a dmadev (as root)
check-packets: deps ## a pcap compared packet by packet, with and without async (as root)
check-faults: deps ## guests that die, memory that moves, engines that stop (as root)
check-spin: deps ## a model of the engine ring, all states of it
check-model: deps ## the DMA engines that tests and benchmarks load into DPDK
check-drivers: deps ## engines that fail, with DPDK's own ioat and idxd drivers (as root)
check-bench: deps ## the benchmark works: each way of measuring, once (as root)
check-unused: deps ## what those see who never turn it on: nothing (as root)
check-ovs: deps ## the parts of OVS's own testsuite that our hooks touch
check-guests: deps ## Linux guests under QEMU, live migration among others (as root)
check-iommu: deps ## a PCI device that copies through an IOMMU, under QEMU (as root)

check-style check-unit check-sanitize check-tsan check-fuzz check-system \
check-packets check-faults check-spin check-model check-drivers \
check-bench check-unused check-ovs check-guests check-iommu:
	@$(CHECK) $(@:check-%=%)

coverage: deps ## lines and branches that no test reaches; SUITES="unit" is quick (as root)
	@$(PYTHON) -m dev.coverage $(addprefix --engine=,$(CHECK_ENGINES)) $(SUITES)

MINUTES = 10
soak: deps ## those of check-faults at random, for MINUTES=n, from SEED=s (as root)
	@$(PYTHON) -m dev.ovs.tree build '$(ENGINE)'
	@$(PYTHON) -m dev.dma_model
	@$(PYTHON) -m dev.faults.soak --engine '$(ENGINE)' --build 'out/$(ENGINE)' \
	    --minutes '$(MINUTES)' $(if $(SEED),--seed '$(SEED)')

ROUNDS = 2000
long-use: deps ## all that can change, at random under traffic, ROUNDS=n times (as root)
	@$(PYTHON) -m dev.ovs.tree build '$(ENGINE)'
	@$(PYTHON) -m dev.dma_model
	@$(PYTHON) -m dev.faults --engine '$(ENGINE)' --build 'out/$(ENGINE)' \
	    --rounds '$(ROUNDS)' long-use

fuzz: deps ## that of check-fuzz for MINUTES=n, from what it found before (out/fuzz)
	@$(PYTHON) -m dev.ovs.tree build '$(ENGINE)'
	@$(PYTHON) -m dev.check.fuzz --engine '$(ENGINE)' --minutes '$(MINUTES)'

bench: deps ## what copies cost, against stock OVS: table, CSV, plots (as root, under 15 minutes)
	@$(PYTHON) -m dev.bench --engine '$(ENGINE)'

bench-quick: deps ## the goals of 'make bench' alone, a line each (as root, under 3 minutes once built)
	@$(PYTHON) -m dev.bench quick --engine '$(ENGINE)'

bench-drivers: deps ## what DPDK's drivers for hardware cost, on devices in memory (as root)
	@$(PYTHON) -m dev.bench drivers --engine '$(ENGINE)'

bench-compare: ## two runs side by side: A=... B=..., out/bench or a bench.json of each
	@$(PYTHON) -m dev.bench compare '$(A)' '$(B)'

bench-engines: deps ## completion engines side by side, under contention
	@$(PYTHON) -m dev.bench.engines

series: deps ## out/series: the series as mails for 'git am' on the OVS of the package, or what is checked out in ONTO=/path/to/ovs
	@$(PYTHON) -m dev.ovs.series $(ONTO)

deb: deps ## out/deb/$(RELEASE): packages that take the place of the distribution's
	@$(PYTHON) -m dev.deb '$(ENGINE)'

deb-again: deps # a second time: they must come out the same
	@$(PYTHON) -m dev.deb again '$(ENGINE)'

clean: ## remove out/
	@$(PYTHON) -m dev.release.chroot clean

endif

# For any release: it boots a chroot of its own.
check-deb: ## a host is upgraded to the packages of 'make deb', and goes back (as root)
	@$(PYTHON) -m dev.deb.check --preflight
	@$(MAKE) --no-print-directory deb
	@$(MAKE) --no-print-directory deb-again
	@$(PYTHON) -m dev.deb.check '$(or $(RELEASE),$(HOST))' '$(ENGINE)'
