"""Postfix's logs: lines.py reads one line whole, counts.py counts outcomes chunk by chunk.

usual.py has the expression that fits nearly all lines, tables.py what comes of the counting. relayctl carries
this package: standard library only, Python 3.9.
"""
