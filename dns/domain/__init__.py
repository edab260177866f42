"""Weights and ramps: pure. No Django, no I/O, no clock."""
