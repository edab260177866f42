"""What single sign-on asks the provider through: only there, by TLS, and following no redirect.

The provider's own metadata name further addresses, which are a stranger's text.
"""

import socket
from typing import Any
from urllib.parse import urlsplit

from authlib.integrations.requests_client import OAuth2Session
from requests import Response
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidURL
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

from relays.domain.addresses import is_this_machine
from relays.remote.dialling import dial

TIMEOUT_S = 5


class SignOnSession(OAuth2Session):  # type: ignore[misc]
    """authlib's session. issuer: whose addresses may be without TLS, or on this machine, if its own is so."""

    def __init__(self, *args: Any, issuer: str, **more: Any) -> None:
        super().__init__(*args, default_timeout=TIMEOUT_S, **more)
        self._issuer = urlsplit(issuer)
        self.max_redirects = 0
        self.mount("https://", _Adapter())
        self.mount("http://", _Adapter())

    def request(self, method: str, url: str, **more: Any) -> Response:
        """Ask for what the provider may name. Raises RequestException."""
        place = urlsplit(str(url))
        is_issuers = (place.scheme, place.hostname) == (self._issuer.scheme, self._issuer.hostname)
        if not is_issuers and (place.scheme != "https" or is_this_machine(place.hostname or "")):
            raise InvalidURL(f"The provider names {url}, where it cannot be.")
        answer: Response = super().request(method, url, **more)
        return answer


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, **more)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _EncryptedPool}


class _Dialled:
    """A connection of urllib3 to where a machine of ours can be. A proxy is dialled so, too."""

    host: str
    port: int

    def _new_conn(self) -> socket.socket:
        try:
            return dial(self.host, self.port, timeout_s=TIMEOUT_S)
        except (OSError, UnicodeError) as error:
            assert isinstance(self, HTTPConnection)  # noqa: S101 - what it is mixed into
            raise NewConnectionError(self, str(error)) from error


class _Plain(_Dialled, HTTPConnection):
    pass


class _Encrypted(_Dialled, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _EncryptedPool(HTTPSConnectionPool):
    ConnectionCls = _Encrypted
