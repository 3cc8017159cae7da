"""Weights that others trained: what they call the layers, and reading their files."""

from .conventions import CONVENTIONS, OWN, Convention, Training
from .keras_files import read_keras
from .translate import Translation, translate
from .wrapping import bare_name, find_weights

__all__ = [
    'CONVENTIONS',
    'OWN',
    'Convention',
    'Training',
    'Translation',
    'bare_name',
    'find_weights',
    'read_keras',
    'translate',
]
