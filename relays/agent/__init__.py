"""relayctl, the program that runs on a relay host: standard library only, Python 3.9 or later.

docs/relayctl.md is its contract. build.py makes relayctl.pyz of this package (but build.py itself) and of the
modules of relays.domain that it imports.
"""

VERSION = "0.1.0"
