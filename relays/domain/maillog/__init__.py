"""Postfix's logs: lines.py reads one line whole, counts.py counts outcomes chunk by chunk.

relayctl carries this package: standard library only, Python 3.9.
"""
