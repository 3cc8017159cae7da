"""Transforms that mmcv lacks for classification."""

import math
from typing import Any

import mmcv
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from mmengine.structures import BaseDataElement

__all__ = ['PackClassInputs', 'RandomResizedCrop']


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """Crop a random part of random aspect ratio and resize it to a square.

    Ten draws are tried; if none fits, the largest centered square is taken.

    Args:
        size (int): Side of the result in pixels.
        area_range (tuple[float, float]): Share of the image's area. Defaults to (0.08, 1.0).
        ratio_range (tuple[float, float]): Width over height. Defaults to (3/4, 4/3).
        interpolation (str): The method, as mmcv names it. Defaults to 'bilinear'.
    """

    def __init__(
        self,
        size: int,
        area_range: tuple[float, float] = (0.08, 1.0),
        ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = 'bilinear',
    ) -> None:
        self.size = size
        self.area_range = area_range
        self.ratio_range = ratio_range
        self.interpolation = interpolation

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace ``img`` and ``img_shape``."""
        image = results['img']
        top, left, height, width = self._draw(*image.shape[:2])
        image = image[top : top + height, left : left + width]
        results['img'] = mmcv.imresize(
            image, (self.size, self.size), interpolation=self.interpolation
        )
        results['img_shape'] = results['img'].shape[:2]
        return results

    def _draw(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of the part, in pixels."""
        low, high = map(math.log, self.ratio_range)
        for _ in range(10):
            area = height * width * np.random.uniform(*self.area_range)
            ratio = math.exp(np.random.uniform(low, high))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return (np.random.randint(height - h + 1), np.random.randint(width - w + 1), h, w)
        side = min(height, width)
        return (height - side) // 2, (width - side) // 2, side, side


@TRANSFORMS.register_module()
class PackClassInputs(BaseTransform):
    """Pack ``img`` (H, W, 3) uint8 as ``inputs`` (3, H, W) and ``gt_label`` as ``data_samples``."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Return dict(inputs=Tensor, data_samples=BaseDataElement)."""
        image = torch.from_numpy(np.ascontiguousarray(results['img'].transpose(2, 0, 1)))
        sample = BaseDataElement(metainfo=dict(img_path=results['img_path']))
        if 'gt_label' in results:
            sample.gt_label = results['gt_label']
        return dict(inputs=image, data_samples=sample)
