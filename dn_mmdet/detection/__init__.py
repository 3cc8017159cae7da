"""Detection: what mmdet reads annotation files and evaluates COCO files with."""

from .class_order import ClassOrderEval, ClassOrderEvalMP
from .coco_file import CocoFile
from .use import use_coco_files
from .xml_boxes import use_sound_boxes

__all__ = ['ClassOrderEval', 'ClassOrderEvalMP', 'CocoFile', 'use_coco_files', 'use_sound_boxes']
