"""Times of exported models that take turns in one process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ..benchmark.timing import summarize_times, time_interleaved
from ..utils.errors import UserError
from ..utils.text import markdown_table
from .onnx_file import open_session, read_metadata

__all__ = ['benchmark_onnx']


def benchmark_onnx(
    files: Sequence[str], batch: int = 1, threads: int = 0, repeats: int = 50
) -> str:
    """Time models on noise of their input sizes; the first is the baseline.

    Args:
        files (Sequence[str]): Models of :func:`.export.export_onnx`, each once.
        batch (int): Images at a time. Defaults to 1.
        threads (int): Threads of ONNX Runtime; 0 lets it choose. Defaults to 0.
        repeats (int): Timed rounds. Defaults to 50.

    Returns:
        str: A table, which is printed too.

    Raises:
        UserError: A file is missing, not of this package, given twice, or for another batch.
    """
    if len(set(files)) < len(files):
        raise UserError('a model is given twice: give each file once.')
    calls, sizes = {}, {}
    for file in files:
        session = open_session(file, threads)
        sizes[file] = read_metadata(session, file)['input_size']
        fixed, channels = session.get_inputs()[0].shape[:2]
        if isinstance(fixed, int) and fixed != batch:
            raise UserError(
                f'{file} takes {fixed} image at a time, not --batch {batch}: export it without '
                '--one-image.'
            )
        images = np.random.default_rng(0).normal(size=(batch, channels, *sizes[file]))
        calls[file] = partial(session.run, None, {'images': images.astype(np.float32)})
    times = time_interleaved(calls, repeats=repeats, warmup=5)
    found = summarize_times(times, files[0])
    rows = [['model', 'size', 'ms', 'quartiles', f'ratio to {Path(files[0]).name}']]
    rows += [
        [
            file,
            'x'.join(map(str, sizes[file])),
            f'{1000 * t.seconds:.2f}',
            f'{1000 * t.seconds_q1:.2f} to {1000 * t.seconds_q3:.2f}',
            f'{t.ratio:.2f} ({t.ratio_q1:.2f} to {t.ratio_q3:.2f})',
        ]
        for file, t in found.items()
    ]
    table = markdown_table(rows)
    print(table)
    return table
