"""The version, read by code that must not import the compiled layers.

Written out, not asked of the installed package's metadata: it is right in a checkout that is not installed,
and costs nothing to import.
"""

__version__ = "0.1.0"
