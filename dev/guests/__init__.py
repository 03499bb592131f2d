"""Linux guests under QEMU: traffic, reboots, live migration."""
