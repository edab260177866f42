"""Connecting to what a form, a setting or a stranger named: only where a machine of ours can be."""

import socket

from relays.domain.addresses import BadAddress, check_lead


def dial(host: str, port: int, *, timeout_s: float) -> socket.socket:
    """Return a TCP connection to a host, a name or an address; timeout_s: for each of its addresses.

    The name is looked up once, and each address is checked right before it is dialled: a name server may
    answer the next question otherwise (DNS rebinding). Raises OSError, whose text tells what the host led to.
    """
    failed = OSError(f"{host} leads nowhere")
    for *_, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        address = str(place[0])
        try:
            check_lead(host, address)
            return socket.create_connection((address, port), timeout_s)
        except BadAddress as error:
            failed = OSError(str(error).removesuffix("."))
        except OSError as error:
            failed = error
    raise failed
