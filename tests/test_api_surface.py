"""What each package says it offers is there, documented, and nothing else is meant to be used."""

import importlib
import pkgutil

import pytest

import dn_mmdet

PACKAGES = [
    'dn_mmdet',
    *(f'dn_mmdet.{m.name}' for m in pkgutil.iter_modules(dn_mmdet.__path__) if m.ispkg),
]


@pytest.mark.parametrize('name', PACKAGES)
def test_all_names_exist_and_are_documented(name):
    package = importlib.import_module(name)
    assert package.__doc__
    assert len(set(package.__all__)) == len(package.__all__)
    for item in package.__all__:
        found = getattr(package, item)
        assert not callable(found) or found.__doc__, f'{name}.{item} has no docstring'


def test_the_face():
    assert dn_mmdet.__all__ == sorted(dn_mmdet.__all__)
    layers = {'DNB', 'DNC', 'DNGN', 'DNIN', 'DNLN', 'SEBN'}
    functions = {'convert_batchnorm', 'fuse_conv_dnb', 'revert_to_batchnorm'}
    assert layers | functions | {'__version__'} == set(dn_mmdet.__all__)
    assert set(dn_mmdet.__all__) <= set(dir(dn_mmdet))
    assert dn_mmdet.DNB is importlib.import_module('dn_mmdet.layers').DNB
    with pytest.raises(AttributeError, match="module 'dn_mmdet' has no attribute 'DNX'"):
        dn_mmdet.DNX  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'DNX' from 'dn_mmdet'"):
        from dn_mmdet import DNX  # noqa: F401


def test_registered_names_are_found_from_every_scope():
    from mmdet.registry import MODELS as MMDET
    from mmengine.registry import MODELS, DefaultScope

    for name in (
        'DNB',
        'DNC',
        'DNGN',
        'DNIN',
        'DNLN',
        'SEBN',
        'MobileNetV2DN',
        'ResNetDN',
        'SSDLiteHead',
        'ImageClassifier',
    ):
        assert MODELS.get(name) is not None
        assert MMDET.get(name) is MODELS.get(name)
    from mmcv.cnn import build_norm_layer

    for scope in ('mmengine', 'mmdet'):
        with DefaultScope.overwrite_default_scope(scope):
            name, layer = build_norm_layer(dict(type='DNB', r=16, g='oup', requires_grad=False), 32)
        assert name == 'bn' and type(layer).__name__ == 'DNB' and layer.bn.eps == 1e-5
        assert not any(p.requires_grad for p in layer.parameters())
