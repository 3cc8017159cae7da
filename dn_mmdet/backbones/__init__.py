"""Backbones, registered in mmengine's root registry for detectors and classifiers alike."""

from ..layers.fold_activation import fold_activations
from .mobilenet_v2_dn import MobileNetV2DN
from .resnet_dn import ResNetDN

__all__ = ['MobileNetV2DN', 'ResNetDN', 'fold_activations']
