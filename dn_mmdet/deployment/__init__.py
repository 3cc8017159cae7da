"""Models for use without PyTorch: ONNX files, checked against the model that they come from."""

from .export import export_onnx

__all__ = ['export_onnx']
