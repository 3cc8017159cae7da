"""Detection: what mmdet reads and evaluates COCO files with."""

from .class_order import ClassOrderEval, ClassOrderEvalMP
from .coco_file import CocoFile
from .use import use_coco_files

__all__ = ['ClassOrderEval', 'ClassOrderEvalMP', 'CocoFile', 'use_coco_files']
