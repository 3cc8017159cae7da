"""What a measured layer and a measured model have in common: the way they are run."""

from dataclasses import dataclass

import torch

__all__ = ['DTYPES', 'LAYOUTS', 'MODES', 'Case']

LAYOUTS = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}
MODES = ('train', 'eval')
DTYPES = ('float32', 'bfloat16', 'float16')


@dataclass(frozen=True, kw_only=True)
class Case:
    """How norms are run that take turns, and how often.

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
