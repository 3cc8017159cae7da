"""The demonstration's table."""

from ..markdown import markdown_table

__all__ = ['METRICS', 'table']

METRICS = {
    'mAP': 'coco/bbox_mAP',
    'mAP50': 'coco/bbox_mAP_50',
    'mAP75': 'coco/bbox_mAP_75',
    'small': 'coco/bbox_mAP_s',
    'medium': 'coco/bbox_mAP_m',
    'large': 'coco/bbox_mAP_l',
}


def table(rows):
    """Rows as a Markdown table that also reads well on a terminal.

    Args:
        rows (dict[str, dict]): norm to its ``metrics`` (mmdet's names), ``complexity``
            (:class:`dn_mmdet.analysis.Complexity`) and ``seconds`` of a training step. The first
            row is what the seconds are a ratio to.

    Returns:
        str: the table.
    """
    reference = next(iter(rows.values()))['seconds']
    cells = [['norm', *METRICS, '#p', 'Mult-Adds', 's/iter']]
    for norm, row in rows.items():
        cells.append(
            [
                norm,
                *(f'{row["metrics"][key]:.3f}' for key in METRICS.values()),
                f'{row["complexity"].params / 1e6:.2f}M',
                f'{row["complexity"].mult_adds / 1e6:.1f}M',
                f'{row["seconds"] / reference:.2f} x',
            ]
        )
    return markdown_table(cells)
