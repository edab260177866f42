"""Zones, relay names, weights and ramps live here, from their own issues on."""
