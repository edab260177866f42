"""Speaking to relay hosts: SSH, the client of relayctl, and one family of errors."""
