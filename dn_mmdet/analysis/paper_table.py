"""The paper's parameters and multiply-adds (Tables 1 to 9) next to those of the shipped models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from ..paths import configs_root
from ..utils.python39 import zip_strict
from ..utils.text import markdown_lines
from .complexity import Complexity
from .config_complexity import config_complexity

__all__ = [
    'PAPER_ROWS',
    'CheckedRow',
    'PaperRow',
    'check_paper_rows',
    'is_printed_as',
    'print_paper_table',
]

UNITS = {'K': 3, 'M': 6, 'G': 9}


@dataclass(frozen=True)
class PaperRow:
    """A model of the paper, with the figures as they are printed there.

    Attributes:
        tables (str): Numbers of the tables that give the figures.
        network (str): The network.
        norm (str): Its norm layers, with r and g.
        params (str): Parameters, as '2.35M'.
        mult_adds (str): Multiply-adds of one image, as '299.62M'.
        config (str): The configuration below ``configs/``.
        shape (tuple[int, int]): Height and width of the image. Defaults to (224, 224).
    """

    tables: str
    network: str
    norm: str
    params: str
    mult_adds: str
    config: str
    shape: tuple[int, int] = (224, 224)


PAPER_ROWS = tuple(
    PaperRow(*row)
    for row in (
        ('1, 2, 4, 8', 'MobileNetV2', 'BN', '2.35M', '299.62M', 'imagenet100/mbv2_bn.py'),
        ('2', 'MobileNetV2', 'SE + BN (16)', '3.73M', '300.98M', 'imagenet100/mbv2_se.py'),
        (
            '1',
            'MobileNetV2',
            'DN-C (16, 1), added after FC1',
            '3.03M',
            '301.02M',
            'imagenet100/mbv2_dnc_fc1.py',
        ),
        (
            '1',
            'MobileNetV2',
            'DN-C (16, 1), added after FC2',
            '3.03M',
            '301.05M',
            'imagenet100/mbv2_dnc_fc2.py',
        ),
        ('6', 'MobileNetV2', 'DN-B (8, 1)', '3.72M', '301.02M', 'imagenet100/mbv2_dnb_r8_g1.py'),
        (
            '1, 2, 4, 6-8',
            'MobileNetV2',
            'DN-B (16, 1)',
            '3.03M',
            '300.34M',
            'imagenet100/mbv2_dnb_r16_g1.py',
        ),
        ('6', 'MobileNetV2', 'DN-B (32, 1)', '2.69M', '300.00M', 'imagenet100/mbv2_dnb_r32_g1.py'),
        ('7', 'MobileNetV2', 'DN-B (16, 2)', '3.07M', '300.37M', 'imagenet100/mbv2_dnb_r16_g2.py'),
        ('7', 'MobileNetV2', 'DN-B (16, 4)', '3.14M', '300.44M', 'imagenet100/mbv2_dnb_r16_g4.py'),
        (
            '1, 2, 7, 9',
            'MobileNetV2',
            'DN-B (16, oup)',
            '4.36M',
            '301.66M',
            'imagenet100/mbv2_dnb_r16_goup.py',
        ),
        ('3', 'ResNet-18', 'BN', '11.22M', '1730.12M', 'imagenet100/resnet18_bn.py'),
        (
            '3',
            'ResNet-18',
            'DN-B (4, oup)',
            '12.52M',
            '1731.43M',
            'imagenet100/resnet18_dnb_r4_goup.py',
        ),
        (
            '3',
            'ResNet-18',
            'DN-B (16, oup)',
            '11.54M',
            '1730.45M',
            'imagenet100/resnet18_dnb_r16_goup_lr0p8.py',
        ),
        ('3', 'ResNet-34', 'BN', '21.33M', '3579.81M', 'imagenet100/resnet34_bn.py'),
        (
            '3',
            'ResNet-34',
            'DN-B (16, oup)',
            '21.85M',
            '3580.35M',
            'imagenet100/resnet34_dnb_r16_goup.py',
        ),
        (
            '3',
            'ResNet-34',
            'DN-B (32, oup)',
            '21.58M',
            '3580.08M',
            'imagenet100/resnet34_dnb_r32_goup.py',
        ),
        ('5', 'SSDLite MobileNetV2', 'BN', '4.32M', '0.81G', 'ssdlite_mbv2_bn_coco.py', (320, 320)),
        (
            '5',
            'SSDLite MobileNetV2',
            'DN-B (16, oup)',
            '6.33M',
            '0.81G',
            'ssdlite_mbv2_dnb_paper_coco.py',
            (320, 320),
        ),
    )
)


@dataclass(frozen=True)
class CheckedRow:
    """A row with what the model of its configuration has."""

    row: PaperRow
    found: Complexity

    @property
    def matches(self) -> bool:
        """Whether both figures are those of the paper."""
        return is_printed_as(self.found.params, self.row.params) and is_printed_as(
            self.found.mult_adds, self.row.mult_adds
        )


def check_paper_rows(rows: Iterable[PaperRow] | None = None) -> Iterator[CheckedRow]:
    """Build each row's model from its configuration and count; about a second a row.

    Args:
        rows (Iterable[PaperRow], optional): Defaults to all.

    Yields:
        CheckedRow: A row with its counts.

    Raises:
        UserError: A configuration is missing or cannot be built.
    """
    for row in PAPER_ROWS if rows is None else rows:
        yield CheckedRow(row, config_complexity(configs_root() / row.config, row.shape).complexity)


def is_printed_as(value: int, printed: str) -> bool:
    """Whether a count lies within half a unit of the last digit of a printed figure.

    Args:
        value (int): The count.
        printed (str): A decimal number and K, M or G, as '299.62M'.
    """
    number = Decimal(printed[:-1])
    half = Decimal(5).scaleb(number.as_tuple().exponent - 1)
    return abs(Decimal(value).scaleb(-UNITS[printed[-1]]) - number) <= half


def print_paper_table(rows: Iterable[PaperRow] | None = None) -> bool:
    """Print ours next to the paper's, a line as soon as it is computed.

    Args:
        rows (Iterable[PaperRow], optional): Defaults to all.

    Returns:
        bool: Whether every row matches.
    """
    rows = PAPER_ROWS if rows is None else tuple(rows)
    header = ('table', 'network', 'norm (r, g)', '#p', 'paper', 'Mult-Adds', 'paper', 'verdict')
    widest = [*header[:3], '00.000M', '00.00M', '0000.000M', '0000.00M', 'matches']
    widths = [
        max(map(len, column))
        for column in zip_strict(
            widest, *([r.tables, r.network, r.norm, *widest[3:]] for r in rows)
        )
    ]
    checked = []

    def cells() -> Iterator[Sequence[str]]:
        yield header
        for result in check_paper_rows(rows):
            checked.append(result)
            row = result.row
            yield (
                row.tables,
                row.network,
                row.norm,
                _one_digit_more(result.found.params, row.params),
                row.params,
                _one_digit_more(result.found.mult_adds, row.mult_adds),
                row.mult_adds,
                'matches' if result.matches else 'OFF',
            )

    for line in markdown_lines(cells(), widths):
        print(line, flush=True)
    matching = sum(result.matches for result in checked)
    print(
        f'{matching} of {len(checked)} rows match: both figures within half a unit of the '
        "paper's last digit."
    )
    return matching == len(checked)


def _one_digit_more(value: int, printed: str) -> str:
    """A count in the unit of a printed figure, with one digit more than it has."""
    digits = 1 - Decimal(printed[:-1]).as_tuple().exponent
    return f'{Decimal(value).scaleb(-UNITS[printed[-1]]):.{digits}f}{printed[-1]}'
