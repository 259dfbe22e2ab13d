"""The version, read by code that must not import the compiled layers."""

from importlib.metadata import version

__version__ = version("normkit")
