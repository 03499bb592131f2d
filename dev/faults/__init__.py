"""Guests that die, memory that moves, engines that stop, under traffic of
which each packet is accounted for."""
