"""A data set as training loads it: how much of it is used, and images with their labels."""

from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, TRANSFORMS

from ..engine.preflight.planned import PlannedDataset, silence
from ..figures.labeled_images import LabeledBox, LabeledImage
from ..utils.python39 import zip_strict

__all__ = ['LoadedDataset', 'Usage']


@dataclass(frozen=True)
class Usage:
    """How much of a data set is used.

    Args:
        classes (Sequence[str]): The class names, in the order of the labels.
        detection (bool): Whether there are boxes; else each image has a class.
        images_given (int): Number of images before the data set's own filter.
        images (int): Number of images after the filter and ``indices``.
        labels (Counter[int]): Label to number of boxes that are learned, or of images in
            classification.
        ignored (int): Number of boxes that are loaded but not learned: crowds, difficult objects.
    """

    classes: Sequence[str]
    detection: bool
    images_given: int
    images: int
    labels: Counter[int]
    ignored: int


class LoadedDataset:
    """A data set of a configuration, built and read; its images are read when they are asked for.

    Args:
        data (PlannedDataset): What the configuration says of it.

    Attributes:
        usage (Usage): How much of it is used.

    Raises:
        Exception: Whatever the class of the data set raises.
    """

    def __init__(self, data: PlannedDataset):
        # What pycocotools prints and mmengine logs is told by the run too.
        with redirect_stdout(StringIO()), silence():
            self._dataset = DATASETS.build(
                {**data.cfg, 'pipeline': [], 'lazy_init': True, 'serialize_data': False}
            )
            given = _read(self._dataset)
        self.usage = _usage(self._dataset, given)
        self._load = _loading(data, self.usage.detection)

    def image(self, index: int) -> LabeledImage:
        """An image as the pipeline of the configuration loads it, before anything random.

        Args:
            index (int): Place in the data set, after its filter.

        Returns:
            LabeledImage: With the boxes that are loaded, or with its class as title.

        Raises:
            UserError: The image does not load.
            KeyError: Items of this class of data sets do not name an image and its labels.
        """
        item = self._dataset.get_data_info(index)
        name = _short(Path(item['img_path']).name)
        for transform in self._load:
            item = transform(item)
        if not self.usage.detection:
            title = self._name(item['gt_label']) if 'gt_label' in item else 'no label'
            return LabeledImage(_rgb(item['img']), f'{title}\n{name}')
        boxes = [
            LabeledBox(corners.tolist(), int(label), self._name(label), bool(ignored))
            for corners, label, ignored in zip_strict(
                item['gt_bboxes'].tensor,
                item['gt_bboxes_labels'],
                item['gt_ignore_flags'],
            )
        ]
        number = f'{len(boxes)} {"box" if len(boxes) == 1 else "boxes"}'
        return LabeledImage(_rgb(item['img']), f'{name}: {number}', boxes)

    def _name(self, label: int) -> str:
        classes = self.usage.classes
        return str(classes[label]) if label < len(classes) else f'label {label}'


def _read(dataset: BaseDataset) -> int:
    """Read all labels; returns how many images there are before the data set's own filter."""
    before, keep = [], dataset.filter_data

    def filter_data() -> list[dict[str, Any]]:
        before.append(len(dataset.data_list))
        return keep()

    dataset.filter_data = filter_data
    dataset.full_init()
    return before[0]


def _usage(dataset: BaseDataset, given: int) -> Usage:
    items = dataset.data_list
    detection = any('instances' in item for item in items)
    boxes = [box for item in items for box in item.get('instances', ())]
    learned = [box for box in boxes if not box.get('ignore_flag')]
    return Usage(
        classes=tuple(dataset.metainfo.get('classes') or ()),
        detection=detection,
        images_given=given,
        images=len(items),
        labels=Counter(
            [box.get('bbox_label') for box in learned]
            if detection
            else [item['gt_label'] for item in items if 'gt_label' in item]
        ),
        ignored=len(boxes) - len(learned),
    )


def _loading(data: PlannedDataset, detection: bool) -> list[Any]:
    """The transforms that load the image, as the pipeline says, and the boxes."""
    images = [step for _, step, cls in data.steps if issubclass(cls, LoadImageFromFile)]
    transforms = [TRANSFORMS.build(images[0] if images else dict(type=LoadImageFromFile))]
    if detection:
        from mmdet.datasets.transforms import LoadAnnotations

        transforms.append(LoadAnnotations(with_bbox=True))
    return transforms


def _rgb(image: np.ndarray) -> np.ndarray:
    """What a transform loaded (gray or BGR, 8 bits or more) as (H, W, 3) RGB of 8 bits."""
    if image.dtype != np.uint8:
        image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2RGB)


def _short(name: str, limit: int = 28) -> str:
    return name if len(name) <= limit else f'...{name[3 - limit :]}'
