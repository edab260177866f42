"""relayctl, the one program of ours on a relay host. Standard library only, Python 3.9 and later."""
