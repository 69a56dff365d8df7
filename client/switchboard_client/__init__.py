"""The command `switchboard`: what staff do, by the management API of a server."""

__version__ = "0.1.0"
