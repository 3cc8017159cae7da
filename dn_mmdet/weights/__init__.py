"""Weights that others trained: what they call the layers, and reading their files."""

from .conventions import CONVENTIONS, OWN, Convention, Training
from .keras_files import read_keras
from .translate import Translation, translate

__all__ = [
    'CONVENTIONS',
    'OWN',
    'Convention',
    'Training',
    'Translation',
    'read_keras',
    'translate',
]
