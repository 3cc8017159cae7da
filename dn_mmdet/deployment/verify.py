"""How far two results of the same model lie apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..utils.errors import UserError
from ..utils.python39 import zip_strict

__all__ = ['compare_outputs']

# Float32 sums in another order differ by far less; a wrong graph by far more.
SCORE, PIXELS, RELATIVE = 1e-3, 0.1, 1e-3
# A score at the threshold, or two boxes at the overlap, may fall to the other side.
UNMATCHED = 0.02


def compare_outputs(
    task: str,
    names: Sequence[str],
    expected: Sequence[np.ndarray],
    found: Sequence[np.ndarray],
    strict: bool = True,
) -> str:
    """Compare the outputs of a graph with what they should be.

    Args:
        task (str): 'detection', 'classification' or 'features'.
        names (Sequence[str]): Names of the outputs.
        expected (Sequence[ndarray]): Of PyTorch.
        found (Sequence[ndarray]): Of ONNX Runtime.
        strict (bool): Refuse what is too far apart, not only what is not finite. Defaults to True.

    Returns:
        str: The largest differences, in words.

    Raises:
        UserError: They are too far apart, or not finite.
    """
    for name, values in (*zip_strict(names, expected), *zip_strict(names, found)):
        if not np.isfinite(values).all():
            raise UserError(
                f'{name} has values that are not finite: the checkpoint is of a run that diverged, '
                'so nothing is exported.'
            )
    if task == 'detection':
        text, close = _compare_detections(expected, found)
    else:
        differences, close = [], True
        for name, a, b in zip_strict(names, expected, found):
            difference, scale = np.abs(a - b).max(), np.abs(a).max()
            limit = SCORE if task == 'classification' else RELATIVE * scale
            close &= bool(difference <= limit)
            differences.append(f'{difference:.2g} in {name} (largest {scale:.2g})')
        text = f'differences of at most {", ".join(differences)}'
    if strict and not close:
        raise UserError(
            f'the exported model does not compute what the PyTorch model does ({text}), so nothing '
            'is written: try another --opset, and report it.'
        )
    return text


def _compare_detections(
    expected: Sequence[np.ndarray], found: Sequence[np.ndarray]
) -> tuple[str, bool]:
    """Pair detections of a label by their places; each is paired once."""
    boxes = scores = 0.0
    total = paired = 0
    for a, a_labels, b, b_labels in zip_strict(*expected, *found):
        free = b_labels >= 0
        total += int((a_labels >= 0).sum()) + int(free.sum())
        for box, label in zip_strict(a, a_labels):
            candidates = np.flatnonzero(free & (b_labels == label)) if label >= 0 else ()
            if not len(candidates):
                continue
            far = np.abs(b[candidates, :4] - box[:4]).max(1)
            far = far + 100 * np.abs(b[candidates, 4] - box[4])
            best = candidates[far.argmin()]
            if np.abs(b[best, :4] - box[:4]).max() > 8:
                continue
            free[best] = False
            paired += 2
            boxes = max(boxes, float(np.abs(b[best, :4] - box[:4]).max()))
            scores = max(scores, float(abs(b[best, 4] - box[4])))
    close = boxes <= PIXELS and scores <= SCORE and total - paired <= max(UNMATCHED * total, 1)
    return (
        f'{paired // 2} detections are in both and {total - paired} in one alone, boxes differ by '
        f'at most {boxes:.2g} pixels and scores by at most {scores:.2g}',
        close,
    )
