"""Convolutions in 8 bits, by ONNX Runtime's static quantizer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from torch import Tensor

__all__ = ['quantize_bytes']


def quantize_bytes(content: bytes, images: Tensor) -> bytes:
    """Quantize the convolutions of an exported model; all else stays in float32.

    Args:
        content (bytes): The model.
        images (Tensor): Normalized images (N, C, H, W), whose ranges of activations are taken.

    Returns:
        bytes: The quantized model, with the metadata.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType
    from onnxruntime.quantization.quantize import quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest: Iterator[Tensor] = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.rest, None)
            return None if image is None else {'images': image[None].numpy()}

    graph = onnx.load_from_string(content).graph
    constants = {weights.name for weights in graph.initializer}
    # Scale and shift of one image are a convolution whose weights are not known yet.
    made = [n.name for n in graph.node if n.op_type == 'Conv' and n.input[1] not in constants]
    with TemporaryDirectory() as folder:
        before, after = Path(folder) / 'float32.onnx', Path(folder) / 'int8.onnx'
        before.write_bytes(content)
        quantize_static(
            before,
            after,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=['Conv'],
            nodes_to_exclude=made,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        model = onnx.load(after)
    if not model.metadata_props:
        model.metadata_props.extend(onnx.load_from_string(content).metadata_props)
    return model.SerializeToString()
