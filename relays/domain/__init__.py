"""Pure decisions and parsers: no Django, no I/O, no clock. What relayctl needs of it runs on Python 3.9."""
