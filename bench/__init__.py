"""Figures to reach, each measured beside its peer in one run. Not tests: run by hand, `./run bench NAME`."""
