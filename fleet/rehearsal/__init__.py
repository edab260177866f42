"""The rehearsal fleet: real Postfix relay hosts, mail providers, name servers and origins on one machine.

docs/rehearsal.md tells how to use it.
"""

from fleet.rehearsal.fleet import Fleet

__all__ = ["Fleet"]
