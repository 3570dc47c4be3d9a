"""Readers of other people's files: one file each, arrays by the names they have there."""
