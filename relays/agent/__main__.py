"""relayctl's command line: no arguments serve one request; the commands are root's, on the host."""

from __future__ import annotations

import sys

from relays.agent import VERSION


def main(arguments: list[str]) -> int:
    """Run relayctl with these arguments; return its exit status."""
    # Each imports only what it needs: a poll starts in half the time without the installer.
    if not arguments:
        from relays.agent.serve import serve  # noqa: PLC0415

        return serve(sys.stdin.fileno(), sys.stdout.fileno())
    if arguments == ["version"]:
        print(VERSION)
        return 0
    from relays.agent import commands  # noqa: PLC0415
    from relays.agent.archive import own_bytes  # noqa: PLC0415

    return commands.run(arguments, own_bytes())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
