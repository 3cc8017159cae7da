"""From a graph in PyTorch to an ONNX file, and what the file says of itself."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..utils.errors import UserError
from ..utils.text import error_line

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ['OPSET', 'OPSETS', 'check_packages', 'onnx_bytes', 'open_session', 'read_metadata']

OPSET, OPSETS = 17, range(14, 21)
# Of the metadata; tools/deployment/demo.py reads it too.
KEY = 'dn_mmdet'
# What is read of them here.
READ = {'task', 'config', 'classes', 'input_size'}
# Before torch 2.5 there is no other exporter to choose.
TRACING = {'dynamo': False} if 'dynamo' in signature(torch.onnx.export).parameters else {}


def check_packages() -> None:
    """Check that what an export needs is installed.

    Raises:
        UserError: It is not.
    """
    for name in ('onnx', 'onnxruntime'):
        try:
            __import__(name)
        except ImportError as error:
            raise UserError(
                f'the package {name} cannot be imported ({error_line(error)}): run '
                '`pip install onnx onnxruntime` in this environment.'
            ) from error


def onnx_bytes(
    graph: nn.Module,
    images: Tensor,
    metadata: Mapping[str, Any],
    opset: int = OPSET,
    dynamic_size: bool = False,
    one_image: bool = False,
) -> bytes:
    """Export a graph.

    PyTorch's exporter by tracing is used: it is the one that asks an autograd function for its
    operators, as the NMS of :mod:`.graph` has them.

    Args:
        graph (nn.Module): Of :func:`.graph.make_graph`.
        images (Tensor): An example (N, C, H, W).
        metadata (Mapping[str, Any]): Goes into ``metadata_props`` as JSON, under one key, since
            other tools add theirs.
        opset (int): Version of ONNX's operators. Defaults to 17.
        dynamic_size (bool): Height and width are dynamic. Defaults to False.
        one_image (bool): The batch is one image; otherwise it is dynamic. Defaults to False.

    Returns:
        bytes: What the file is to hold.

    Raises:
        UserError: The graph cannot be exported.
    """
    import onnx

    images = images[:1] if one_image else images
    with torch.no_grad():
        names = graph.names(graph(images))
    batch = {} if one_image else {0: 'batch'}
    dims = batch | ({2: 'height', 3: 'width'} if dynamic_size else {})
    file = io.BytesIO()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # Of what is constant by intention, and of the age of the exporter.
            warnings.simplefilter('ignore')
            torch.onnx.export(
                graph,
                (images,),
                file,
                **TRACING,
                opset_version=opset,
                input_names=['images'],
                output_names=names,
                dynamic_axes={'images': dims} | dict.fromkeys(names, batch),
            )
    except (torch.onnx.errors.OnnxExporterError, ValueError) as error:
        # An older torch knows fewer versions, and says so with a ValueError.
        if isinstance(error, ValueError) and 'opset' not in str(error):
            raise
        raise UserError(
            f'PyTorch {torch.__version__} cannot export this model with opset {opset} '
            f'({error_line(error)}): try another --opset, or --part backbone.'
        ) from error
    model = onnx.load_from_string(file.getvalue())
    model.metadata_props.add(key=KEY, value=json.dumps(metadata))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def open_session(model: str | Path | bytes, threads: int = 0) -> InferenceSession:
    """An ONNX Runtime session on the CPU.

    Args:
        model (str | Path | bytes): A file, or what it holds.
        threads (int): Threads of an operator; 0 lets ONNX Runtime choose. Defaults to 0.

    Raises:
        UserError: The file is missing or not an ONNX model.
    """
    check_packages()
    import onnxruntime

    if not isinstance(model, bytes) and not Path(model).is_file():
        raise UserError(f'there is no model file {model}: check the path.')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    given = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(given, options, providers=['CPUExecutionProvider'])
    # Its exceptions are classes of a private module.
    except Exception as error:
        name = 'the exported model' if isinstance(model, bytes) else model
        raise UserError(
            f'{name} cannot be opened by ONNX Runtime ({error_line(error)}): export it again.'
        ) from error


def read_metadata(session: InferenceSession, file: str | Path) -> dict[str, Any]:
    """What :func:`onnx_bytes` put into a file.

    Args:
        session (InferenceSession): Of the file.
        file (str | Path): The file, for the message.

    Raises:
        UserError: The file is not of this package.
    """
    try:
        about = json.loads(session.get_modelmeta().custom_metadata_map.get(KEY, ''))
    except ValueError:
        about = None
    if not isinstance(about, dict) or READ - about.keys():
        raise UserError(
            f'{file} does not say what its input and classes are: give a file that '
            'tools/deployment/export_onnx.py wrote.'
        )
    return about
