"""The options that both command lines have."""

import argparse
from collections.abc import Callable

from .case import DTYPES, LAYOUTS, MODES

__all__ = ['add_case_options', 'whole_number']


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
    add('--modes', nargs='+', choices=MODES, help='default: both')
    add('--layouts', '--layout', nargs='+', choices=tuple(LAYOUTS), help='default: both')
    add('--dtype', nargs='+', choices=DTYPES, help=f'{dtype} (default: float32)')
    add('--repeats', type=whole_number(1), help=f'timed rounds (default: {repeats})')
    add('--device', help=f'cpu, cuda or cuda:N (default: {device})')
    add('--threads', type=whole_number(1), help='of a CPU (default: as torch chooses)')


def whole_number(least: int) -> Callable[[str], int]:
    """A type of argparse: a whole number of ``least`` or more."""

    def read(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f'{text!r} is not a number of {least} or more')
        return int(text)

    return read
