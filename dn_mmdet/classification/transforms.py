"""Transforms that mmcv lacks for classification."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from mmengine.structures import BaseDataElement

__all__ = ['ColorJitter', 'PackClassInputs', 'RandomResizedCrop']


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


@TRANSFORMS.register_module()
class ColorJitter(BaseTransform):
    """Change brightness, contrast, saturation and hue by random amounts, in random order.

    The arguments mean what they do in torchvision and mmpretrain. The random numbers are of
    numpy's global generator, which mmengine seeds in every worker.

    Args:
        brightness (float | tuple[float, float]): A number x, 0 or more, draws the factor from
            [max(0, 1 - x), 1 + x]; a pair is that range itself. The factor 0 gives black, 1 the
            image. Defaults to 0.0, no change.
        contrast (float | tuple[float, float]): Likewise; the factor 0 gives the image's mean gray
            value everywhere. Defaults to 0.0.
        saturation (float | tuple[float, float]): Likewise; the factor 0 gives the gray image.
            Defaults to 0.0.
        hue (float | tuple[float, float]): The part of the color circle to turn by: a number x
            in [0, 0.5] draws it from [-x, x], a pair lies in [-0.5, 0.5]. Defaults to 0.0.

    Raises:
        ValueError: An argument is out of range, or neither a number nor a pair.
    """

    def __init__(
        self,
        brightness: float | tuple[float, float] = 0.0,
        contrast: float | tuple[float, float] = 0.0,
        saturation: float | tuple[float, float] = 0.0,
        hue: float | tuple[float, float] = 0.0,
    ) -> None:
        self.brightness = _range('brightness', brightness, 1, 0, math.inf)
        self.contrast = _range('contrast', contrast, 1, 0, math.inf)
        self.saturation = _range('saturation', saturation, 1, 0, math.inf)
        self.hue = _range('hue', hue, 0, -0.5, 0.5)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace ``img``, (H, W, 3) uint8 in the order BGR."""
        steps = (
            (_adjust_brightness, self.brightness, 1),
            (_adjust_contrast, self.contrast, 1),
            (mmcv.adjust_color, self.saturation, 1),
            (_turn_hue, self.hue, 0),
        )
        for i in np.random.permutation(len(steps)):
            adjust, (low, high), neutral = steps[i]
            if not low == high == neutral:
                results['img'] = adjust(results['img'], np.random.uniform(low, high))
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(brightness={self.brightness}, contrast={self.contrast}, '
            f'saturation={self.saturation}, hue={self.hue})'
        )


def _range(
    name: str, value: Any, neutral: float, lowest: float, highest: float
) -> tuple[float, float]:
    """The range to draw from, of an argument that is a number or a pair."""
    limits = f'in [{lowest}, {highest}]' if highest < math.inf else f'{lowest} or more'
    if isinstance(value, Real):
        if not 0 <= value <= highest:
            most = f'in [0, {highest}]' if highest < math.inf else '0 or more'
            raise ValueError(f'{name} must be {most}, or a pair in order, but got {value}')
        return max(lowest, neutral - value), neutral + value
    pair = isinstance(value, (list, tuple)) and len(value) == 2
    if not (
        pair
        and all(isinstance(v, Real) for v in value)
        and lowest <= value[0] <= value[1] <= highest
    ):
        raise ValueError(
            f'{name} must be a number, or a pair (low, high) in order with both '
            f'{limits}, but got {value!r}'
        )
    return tuple(value)


# mmcv's functions for these two go through float images, and contrast through a histogram: 2 and
# 4 ms for 224x224, as long as decoding takes. A table of 256 entries needs a tenth of that.
def _adjust_brightness(image: np.ndarray, factor: float) -> np.ndarray:
    return cv2.LUT(image, _table(factor, 0))


def _adjust_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    mean = round(float(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).mean()))
    return cv2.LUT(image, _table(factor, (1 - factor) * mean))


def _table(slope: float, offset: float) -> np.ndarray:
    return np.clip(np.rint(slope * np.arange(256) + offset), 0, 255).astype(np.uint8)


# mmcv.adjust_hue fails on negative parts under numpy 2, which does not wrap them to uint8.
def _turn_hue(image: np.ndarray, part: float) -> np.ndarray:
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL)
    hsv[..., 0] += np.uint8(round(256 * part) % 256)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)
