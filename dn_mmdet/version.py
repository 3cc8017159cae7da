"""The version of the package, read by setup.cfg and by the checkpoints' metadata."""

__all__ = ['__version__']

__version__ = '0.1.0'
