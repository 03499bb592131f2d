"""The releases of Debian that the series is for; a chroot of another one; the
packages that are needed."""
