"""Let mmdet read and evaluate COCO files with this package's classes."""

import sys

from mmdet.datasets.api_wrappers import COCO, COCOeval, COCOevalMP

from .class_order import ClassOrderEval, ClassOrderEvalMP
from .coco_file import CocoFile

__all__ = ['use_coco_files']

OWN = {COCO: CocoFile, COCOeval: ClassOrderEval, COCOevalMP: ClassOrderEvalMP}


def use_coco_files() -> None:
    """Put :class:`CocoFile` in the place of mmdet's COCO API, for the whole process.

    All of mmdet's data sets and metrics have to change together, since those that pair must give
    labels the same categories. LVIS and panoptic files, which have an API of their own, are read
    as ever. A user's module that imports mmdet's API afterwards gets this one. Calling it again
    changes nothing.
    """
    for module in [module for name, module in sys.modules.items() if name.startswith('mmdet.')]:
        for name, value in list(vars(module).items()):
            if not isinstance(value, type):
                continue
            if value in OWN and name == value.__name__:
                setattr(module, name, OWN[value])
            elif vars(value).get('COCOAPI') is COCO:
                value.COCOAPI = CocoFile
