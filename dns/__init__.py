"""The DNS app, sharing the import name ``dns`` with dnspython.

dnspython's modules stay importable (``dns.resolver`` and so on); where both have a module of the same
name ours wins, so none of ours may take one of theirs: tests/architecture/test_dns_package.py.
"""

from importlib.metadata import distribution

_dnspython = distribution("dnspython")

__path__.append(str(_dnspython.locate_file("dns")))
__version__ = _dnspython.version
