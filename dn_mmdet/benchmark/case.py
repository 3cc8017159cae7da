"""What a measured layer and a measured model have in common: how they are run, and its options."""

import argparse
from dataclasses import dataclass

import torch

from ..utils.text import whole_number

__all__ = ['Case', 'DTYPES', 'LAYOUTS', 'MODES', 'add_case_options']

LAYOUTS = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}
MODES = ('train', 'eval')
DTYPES = ('float32', 'bfloat16', 'float16')


@dataclass(frozen=True)
class Case:
    """How norms are run that take turns, and how often; all by keyword.

    Attributes:
        mode (str): 'train' for forward and backward, 'eval' for the forward pass in evaluation
            mode without gradients.
        layout (str): 'contiguous' or 'channels_last'.
        dtype (str): 'float32', 'bfloat16' or 'float16'.
        repeats (int): Timed rounds.
        warmup (int): Untimed rounds before.

    Raises:
        ValueError: An attribute has no such value.
    """

    mode: str = 'train'
    layout: str = 'contiguous'
    dtype: str = 'float32'
    repeats: int = 9
    warmup: int = 1

    def __post_init__(self) -> None:
        for name, choices in (('mode', MODES), ('layout', LAYOUTS), ('dtype', DTYPES)):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f'{name} must be one of {", ".join(choices)}, got {getattr(self, name)!r}'
                )


def add_case_options(
    parser: argparse.ArgumentParser, repeats: int, dtype: str, device: str
) -> None:
    """Add what says how a case is run; an option that is not given is None.

    Args:
        parser (argparse.ArgumentParser): Of the command.
        repeats (int): Default of a case, for the help.
        dtype (str): What a dtype means, for the help.
        device (str): Default of the command, for the help.
    """
    add = parser.add_argument
    add('--modes', nargs='+', choices=MODES, help='modes to time (default: both)')
    layouts = 'layouts to time (default: both)'
    add('--layouts', '--layout', nargs='+', choices=tuple(LAYOUTS), help=layouts)
    add('--dtype', nargs='+', choices=DTYPES, help=f'{dtype} (default: float32)')
    add('--repeats', type=whole_number(1), help=f'timed rounds (default: {repeats})')
    add('--device', help=f'cpu, cuda or cuda:N (default: {device})')
    add('--threads', type=whole_number(1), help="CPU threads (default: torch's choice)")
