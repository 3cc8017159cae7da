"""The demonstration: BN against DN-B on the embedded data, from nothing to a table."""

from .run import run_demo

__all__ = ['run_demo']
