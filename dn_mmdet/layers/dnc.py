"""DN-C: batch normalization with scale and shift made per channel from the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..ops.precision import cast, without_autocast
from .dynamic_batch_norm import DynamicBatchNorm
from .dynamic_norm import Affine
from .inner_bn import is_known
from .sc_module import GAIN, PARAMETERIZATION
from .validation import check_choice

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ['DNC']

FUSIONS = ('fc1', 'fc2')


class DNC(DynamicBatchNorm):
    """Dynamic Normalization, batch-shared and channel-wise (DN-C; section 3 of the paper).

    As :class:`DNB`, but alpha and lambda, of shape (C,), are made from E[X] and Std[X], both
    (C,), of the batch in training and from the running statistics in evaluation. It is the
    paper's negative result: in the paper it does not train.

    Args:
        num_features (int): Number of channels C.
        eps (float): Added to the variance inside the root. Defaults to 1e-5.
        momentum (float, optional): As in :class:`DNB`. Defaults to 0.1.
        r (int): Reduction ratio of the SC-Module. Defaults to 16.
        g (int | str): As in :class:`DNB`. Defaults to 1.
        start (str): As in :class:`DNB`. Defaults to 'identity'.
        track_running_stats (bool): As in ``nn.BatchNorm2d``. Defaults to True.
        requires_grad (bool): Whether the SC-Module is trained. Defaults to True.
        fuse (str): Where the branches of E[X] and Std[X], which share the first layer, are
            added: 'fc1' after the first layer, before the sigmoid, or 'fc2' after the second.
            Defaults to 'fc1'.
        parameterization (str): As in :class:`DNB`, but the first layer sees E[X] and Std[X] as
            they are in both. Defaults to 'paper'.
        gain (float | str): As in :class:`DNB`. Defaults to 1.0.
        sync (bool): As in :class:`DNB`, and so are E[X] and Std[X], which are exchanged twice.
            Defaults to False.
        process_group (ProcessGroup, optional): As in :class:`DNB`.
        device (torch.device, optional): Where parameters and buffers are made.
        dtype (torch.dtype, optional): Their dtype.

    Raises:
        TypeError: An argument is not of the type above.
        ValueError: An argument is out of range.
    """

    _kind = 'DNC'

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        r: int = 16,
        g: int | str = 1,
        start: str = 'identity',
        track_running_stats: bool = True,
        requires_grad: bool = True,
        fuse: str = 'fc1',
        parameterization: str = PARAMETERIZATION,
        gain: float | str = GAIN,
        sync: bool = False,
        process_group: ProcessGroup | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(
            num_features,
            eps=eps,
            momentum=momentum,
            r=r,
            g=g,
            start=start,
            track_running_stats=track_running_stats,
            requires_grad=requires_grad,
            parameterization=parameterization,
            gain=gain,
            sync=sync,
            process_group=process_group,
            device=device,
            dtype=dtype,
        )
        self.fuse = check_choice('fuse', fuse, FUSIONS)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize a batch; input, output and errors as in :meth:`DNB.forward`."""
        self._check_input(x)
        with without_autocast(x):
            work = cast(x, self._compute_dtype)
            # Before the inner BatchNorm runs, which changes the running statistics.
            affine = self._scale_shift(work)
            y = self._normalize(work) * affine.alpha[:, :, None, None]
            y = y + affine.shift[:, :, None, None]
            return cast(y, x.dtype)

    def affine(self, x: Tensor) -> Affine:
        """As :meth:`DNB.affine`, but of shape (1, C) and (1, H): the batch shares them.

        Where the branches are added after the second layer, ``hidden`` is that of E[X].
        """
        self._check_input(x)
        with without_autocast(x):
            return self._scale_shift(cast(x, self._compute_dtype))

    def _scale_shift(self, x: Tensor) -> Affine:
        mean, var = self._mean_and_var(x)
        sc, mean, std = self.sc, mean[None], torch.sqrt(var + self.bn.eps)[None]
        if self.fuse == 'fc1':
            hidden = (sc.fc1(mean) + sc.fc1(std)).sigmoid()
            alpha, shift = sc.fc2(hidden)
            return self._with_offsets(alpha, shift, hidden)
        hidden = sc.fc1(mean).sigmoid()
        alpha, shift = sc.fc2(hidden)
        more_alpha, more_shift = sc(std)
        return self._with_offsets(alpha + more_alpha, shift + more_shift, hidden)

    def _normalize(self, x: Tensor) -> Tensor:
        bn = self.bn
        hooked = bn._forward_hooks or bn._forward_pre_hooks
        if hooked or not is_known(bn) or self._uses_batch_statistics:
            return super()._normalize(x)
        # torch.export of torch 2.6 loses the buffers of a layer that is both called and read.
        return F.batch_norm(x, *self._mean_and_var(x), eps=bn.eps)

    def extra_repr(self) -> str:
        """Arguments that the members do not show."""
        return f'{super().extra_repr()}, fuse={self.fuse!r}'
