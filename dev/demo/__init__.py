"""Real traffic through Open vSwitch to guests, compared packet by packet."""
