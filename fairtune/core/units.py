"""Units of what is counted."""

MIB = 2**20
"""Bytes of a MiB: memory and sizes on disk are told in MiB throughout."""
