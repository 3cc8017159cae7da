"""The size of image that a configuration gives its model in a test."""

from collections.abc import Mapping

__all__ = ['find_input_shape']

# What a classifier that says nothing else is made for, ImageNet's usual crop.
CLASSIFIER = (224, 224)


def find_input_shape(cfg):
    """Height and width of the model's input, without reading an image.

    The last transform of the test pipeline that fixes a size says it; without one, ``input_size``
    of the configuration; without that, a classifier has 224x224. Where the pipeline keeps the
    ratio of the image, a landscape one at its limits is meant: (800, 1333) for
    ``scale=(1333, 800)``.

    Args:
        cfg (Config): the configuration.

    Returns:
        tuple[int, int] | None: None where nothing says it.
    """
    shape = None
    for transform in _test_pipeline(cfg):
        shape = _shape_after(transform, shape) or shape
    if shape is None and cfg.get('input_size') is not None:
        shape = _height_width(cfg.input_size)
    if shape is None and 'Classifier' in str(cfg.model.get('type')):
        shape = CLASSIFIER
    return shape


def _test_pipeline(cfg):
    for loader in ('test_dataloader', 'val_dataloader'):
        dataset = (cfg.get(loader) or {}).get('dataset') or {}
        while isinstance(dataset.get('dataset'), Mapping):
            dataset = dataset['dataset']
        if dataset.get('pipeline'):
            return dataset['pipeline']
    return cfg.get('test_pipeline') or []


def _shape_after(transform, before):
    """The size after one transform, None where it leaves the size open."""
    if transform.get('pad_to_square') and before:
        return max(before), max(before)
    # mmcv's and mmdet's Resize and Pad, the crops of mmcv, mmpretrain and this package.
    for key in ('scale', 'crop_size', 'size'):
        if transform.get(key) is not None:
            shape = _height_width(transform[key])
            return tuple(sorted(shape)) if transform.get('keep_ratio') else shape
    if {'width', 'height'} <= set(transform):
        return transform['height'], transform['width']
    return None


def _height_width(size):
    """Configurations give (width, height), or one number for a square."""
    width, height = (size, size) if isinstance(size, int) else size
    return int(height), int(width)
