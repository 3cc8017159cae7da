"""What DN-B may cost in MobileNetV2, and whether it does."""

from dataclasses import dataclass

from .cases import BASELINE, MOBILENET, NORMS
from .results import ResultFile

__all__ = ['LIMITS', 'Limit', 'check_limits', 'limits_table']

ROUNDS, THREADS = 9, 2


@dataclass(frozen=True)
class Limit:
    """The most that one number of MobileNetV2 may be.

    Attributes:
        mode (str): Of the case.
        layout (str): Of the case.
        norm (str): Key of ``NORMS``.
        most (float): The largest ratio to BN that meets it.
        quantity (str): 'ratio' for time, 'saved_ratio' for what is kept for the backward.
        device (str): 'cpu' with two threads, or 'cuda'.
        dtype (str): Of the case.
    """

    mode: str
    layout: str
    norm: str
    most: float
    quantity: str = 'ratio'
    device: str = 'cpu'
    dtype: str = 'float32'

    @property
    def place(self) -> tuple:
        """Of its case."""
        batch, size = (8, 224) if self.device == 'cpu' else (64, 320)
        return MOBILENET, self.mode, self.layout, self.dtype, batch, size


# Medians of at least nine interleaved rounds; on a CPU two threads, batch 8 at 224, on CUDA batch
# 64 at 320, where either layout counts.
LIMITS = (
    Limit('train', 'contiguous', 'DNB', 0.90),
    Limit('train', 'channels_last', 'DNB', 1.00),
    Limit('eval', 'contiguous', 'DNB', 1.05),
    Limit('eval', 'channels_last', 'DNB', 1.05),
    # With the activation folded in DN-B keeps less than BN anyway.
    Limit('train', 'contiguous', 'DNB-unfolded', 1.005, quantity='saved_ratio'),
    Limit('train', 'channels_last', 'DNB-unfolded', 1.005, quantity='saved_ratio'),
    Limit('train', 'contiguous', 'DNB-recompute', 0.60, quantity='saved_ratio'),
    Limit('train', 'channels_last', 'DNB-recompute', 0.60, quantity='saved_ratio'),
    Limit('train', 'contiguous', 'DNB-aten', 1.10),
    Limit('train', 'channels_last', 'DNB-aten', 1.20),
    *(
        Limit(mode, layout, 'DNB', most, device='cuda', dtype=dtype)
        for mode, dtype, most in (
            ('train', 'float32', 1.05),
            ('train', 'bfloat16', 1.10),
            ('eval', 'float32', 1.05),
            ('eval', 'bfloat16', 1.05),
        )
        for layout in ('contiguous', 'channels_last')
    ),
)


def check_limits(results: ResultFile) -> list[tuple[Limit, float | None, str]]:
    """Hold each limit against what was measured.

    Args:
        results (ResultFile): Finished cases.

    Returns:
        list[tuple[Limit, float | None, str]]: The measured ratio and 'met' or 'missed'; None and
        'not run: ' with the reason where there is nothing to hold it against.
    """
    return [(limit, *_check(limit, results)) for limit in LIMITS]


def limits_table(results: ResultFile) -> list[tuple[str, ...]]:
    """Cells of a table of :func:`check_limits`, the header first."""
    rows = [('limit', 'measured', 'at most', 'verdict')]
    for limit, value, verdict in check_limits(results):
        what = 'time' if limit.quantity == 'ratio' else 'saved memory'
        text = (
            f'{limit.device}, {limit.mode}, {limit.layout}, {limit.dtype}: {what}, '
            f'{NORMS[limit.norm].label} / {BASELINE}'
        )
        rows.append((text, '' if value is None else f'{value:.3f}', f'{limit.most:g}', verdict))
    return rows


def _check(limit: Limit, results: ResultFile) -> tuple[float | None, str]:
    environment = results.environment
    if (environment['device'] == 'cpu') != (limit.device == 'cpu'):
        return None, f'not run: not on {limit.device}'
    cell = results.at(*limit.place) or {}
    row = next((row for row in cell.get('rows', ()) if row['norm'] == limit.norm), None)
    if row is None:
        return None, f'not run: {cell.get("left_out", {}).get(limit.norm, "not measured")}'
    if limit.quantity == 'ratio':
        if row['rounds'] < ROUNDS:
            return None, f'not run: {row["rounds"]} rounds, at least {ROUNDS} are needed'
        if limit.device == 'cpu' and environment['threads'] != THREADS:
            return None, f'not run: {environment["threads"]} threads, {THREADS} are needed'
    value = row[limit.quantity]
    return value, 'met' if value <= limit.most else 'missed'
