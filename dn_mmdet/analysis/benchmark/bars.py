"""What DN-B may cost at most, against BN in the same run (docs/performance.md)."""

from dataclasses import dataclass

from .cells import BASELINE, MOBILENET, NORMS
from .results import Results

__all__ = ['BARS', 'Bar', 'bars_table', 'judge']

ROUNDS, THREADS = 9, 2


@dataclass(frozen=True)
class Bar:
    """A limit for one number of MobileNetV2.

    Attributes:
        mode (str), layout (str): of the cell.
        norm (str): key of ``NORMS``.
        limit (float): the most that the ratio to BN may be.
        quantity (str): 'ratio' for time, 'saved_ratio' for what is kept for the backward.
        device (str): 'cpu' with two threads, or 'cuda'.
        dtype (str): of the cell.
    """

    mode: str
    layout: str
    norm: str
    limit: float
    quantity: str = 'ratio'
    device: str = 'cpu'
    dtype: str = 'float32'

    @property
    def place(self) -> tuple:
        """Of its cell."""
        batch, size = (8, 224) if self.device == 'cpu' else (64, 320)
        return MOBILENET, self.mode, self.layout, self.dtype, batch, size


# Medians of at least nine interleaved rounds; on a CPU two threads, batch 8 at 224, on CUDA batch
# 64 at 320, where either layout counts.
BARS = (
    Bar('train', 'contiguous', 'DNB', 0.90),
    Bar('train', 'channels_last', 'DNB', 1.00),
    Bar('eval', 'contiguous', 'DNB', 1.05),
    Bar('eval', 'channels_last', 'DNB', 1.05),
    # With the activation folded in DN-B keeps less than BN anyway.
    Bar('train', 'contiguous', 'DNB-unfolded', 1.005, quantity='saved_ratio'),
    Bar('train', 'channels_last', 'DNB-unfolded', 1.005, quantity='saved_ratio'),
    Bar('train', 'contiguous', 'DNB-recompute', 0.60, quantity='saved_ratio'),
    Bar('train', 'channels_last', 'DNB-recompute', 0.60, quantity='saved_ratio'),
    Bar('train', 'contiguous', 'DNB-aten', 1.10),
    Bar('train', 'channels_last', 'DNB-aten', 1.20),
    *(
        Bar(mode, layout, 'DNB', limit, device='cuda', dtype=dtype)
        for mode, dtype, limit in (
            ('train', 'float32', 1.05),
            ('train', 'bfloat16', 1.10),
            ('eval', 'float32', 1.05),
            ('eval', 'bfloat16', 1.05),
        )
        for layout in ('contiguous', 'channels_last')
    ),
)


def judge(results: Results) -> list[tuple[Bar, float | None, str]]:
    """Hold each bar against what was measured.

    Args:
        results (Results): finished cells.

    Returns:
        list[tuple[Bar, float | None, str]]: the measured ratio and 'met' or 'missed'; None and
        'not run: ' with the reason where there is nothing to hold it against.
    """
    return [(bar, *_judge(bar, results)) for bar in BARS]


def bars_table(results: Results) -> list[tuple[str, ...]]:
    """Cells of a table of :func:`judge`, the header first."""
    rows = [('bar', 'measured', 'at most', 'verdict')]
    for bar, value, verdict in judge(results):
        what = 'time' if bar.quantity == 'ratio' else 'saved memory'
        text = (
            f'{bar.device}, {bar.mode}, {bar.layout}, {bar.dtype}: {what}, '
            f'{NORMS[bar.norm].label} / {BASELINE}'
        )
        rows.append((text, '' if value is None else f'{value:.3f}', f'{bar.limit:g}', verdict))
    return rows


def _judge(bar, results):
    environment = results.environment
    if (environment['device'] == 'cpu') != (bar.device == 'cpu'):
        return None, f'not run: not on {bar.device}'
    cell = results.at(*bar.place)
    row = next((row for row in cell['rows'] if row['norm'] == bar.norm), None) if cell else None
    if row is None:
        reason = (cell or {}).get('left_out', {}).get(bar.norm, 'not measured')
        return None, f'not run: {reason}'
    if bar.quantity == 'ratio':
        if row['rounds'] < ROUNDS:
            return None, f'not run: {row["rounds"]} rounds, at least {ROUNDS} are needed'
        if bar.device == 'cpu' and environment['threads'] != THREADS:
            return None, f'not run: {environment["threads"]} threads, {THREADS} are needed'
    value = row[bar.quantity]
    return value, 'met' if value <= bar.limit else 'missed'
