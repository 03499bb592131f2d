"""The sources of Open vSwitch with ours, builds of them, and the series."""
