"""relayctl's command line: no arguments serve one request; the commands are root's, on the host."""

from __future__ import annotations

import sys

from relays.agent import VERSION


def main(arguments: list[str]) -> int:
    """Run relayctl with these arguments; return its exit status."""
    if not arguments:
        from relays.agent.serve import serve  # noqa: PLC0415 - a poll needs no installer, nor it this

        return serve(sys.stdin.fileno(), sys.stdout.fileno())
    if arguments == ["version"]:
        print(VERSION)  # noqa: T201
        return 0
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
