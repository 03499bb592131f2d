"""Packages of Open vSwitch with the series, and what becomes of a host that
installs them."""
