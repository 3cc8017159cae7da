"""Let mmdet's XMLDataset pass over boxes that nothing can be done with, as CocoDataset does."""

from functools import wraps
from typing import Any

from mmdet.datasets import XMLDataset

from ..datasets.files.voc import voc_box_fault

__all__ = ['use_sound_boxes']


def use_sound_boxes() -> None:
    """Take boxes of no or negative size and boxes outside their image out of XMLDataset's data.

    mmdet trains on them, which makes the loss infinite or NaN where their best anchor is matched,
    and evaluates them, where nothing can find them. Its CocoDataset skips the same. Subclasses that
    read files in their own way are as ever. Calling it again changes nothing.
    """
    parse = XMLDataset.parse_data_info
    if getattr(parse, 'skips_useless_boxes', False):
        return

    @wraps(parse)
    def parse_data_info(self: XMLDataset, img_info: dict[str, Any]) -> dict[str, Any]:
        info = parse(self, img_info)
        size = info['width'], info['height']
        info['instances'] = [
            entry for entry in info['instances'] if voc_box_fault(entry['bbox'], size) is None
        ]
        return info

    parse_data_info.skips_useless_boxes = True
    XMLDataset.parse_data_info = parse_data_info
