"""What the closed form needs beside tensors."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ['Options']


class Options(NamedTuple):
    """What is no tensor.

    Attributes:
        eps (float): Added to the variance.
        normalized (bool): Whether the SC-Module sees the normalised means.
        detach_gap (bool): Whether no gradient passes the input of the SC-Module.
        bounds (tuple[float, float], optional): Of the activation.
        recompute (bool): Keep no output for the backward.
        group (ProcessGroup, optional): Its processes share the statistics of the batch.
    """

    eps: float
    normalized: bool
    detach_gap: bool
    bounds: tuple[float, float] | None
    recompute: bool
    group: 'ProcessGroup | None' = None
