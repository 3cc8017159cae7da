"""The ground that all rooms stand on: errors, files, text, progress, versions. No torch here."""

__all__ = []
