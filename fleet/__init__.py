"""The project: settings, processes, and the pages that show the whole fleet."""

__version__ = "0.1.0"
