"""Handwritten digits on photographs: a COCO detection set made from what two packages ship."""

from .build import build_digits_coco
from .coco import CLASSES
from .contact_sheet import draw_contact_sheet
from .glyphs import Glyphs, load_glyphs, render_glyph
from .photographs import PHOTOGRAPHS, Photograph, load_photographs, random_background
from .scenes import Scene, compose_crop, compose_scene
from .spec import DigitsSpec

__all__ = [
    'CLASSES',
    'PHOTOGRAPHS',
    'DigitsSpec',
    'Glyphs',
    'Photograph',
    'Scene',
    'build_digits_coco',
    'compose_crop',
    'compose_scene',
    'draw_contact_sheet',
    'load_glyphs',
    'load_photographs',
    'random_background',
    'render_glyph',
]
