"""DN-C: batch normalisation with scale and shift made per channel from the batch."""

import torch
from torch import Tensor

from ..ops.precision import cast, without_autocast
from .dynamic_norm import DynamicNorm
from .validation import check_choice

__all__ = ['DNC']

FUSIONS = ('fc1', 'fc2')


class DNC(DynamicNorm):
    """Dynamic Normalization, batch-shared and channel-wise (DN-C; section 3 of the paper).

    As :class:`DNB`, but alpha and lambda, of shape (C,), are made from E[X] and Std[X], both
    (C,), of the batch in training and from the running statistics in evaluation. It is the
    paper's negative result: there it does not train.

    With an inner BatchNorm that was converted to SyncBN, E[X] and Std[X] are those of the
    process's own part of the batch.

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
        device (torch.device, optional): Where parameters and buffers are made.
        dtype (torch.dtype, optional): Their dtype.

    Raises:
        TypeError: An argument is not of the type above.
        ValueError: An argument is out of range.
    """

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
            device=device,
            dtype=dtype,
        )
        self.fuse = check_choice('fuse', fuse, FUSIONS)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a batch; input, output and errors as in :meth:`DNB.forward`."""
        self._check_input(x)
        with without_autocast(x):
            work = cast(x, self._compute_dtype)
            # Before the inner BatchNorm runs, which changes the running statistics.
            alpha, shift = self._scale_shift(*self._statistics(work))
            y = self._normalize(work) * alpha + shift
            return cast(y, x.dtype)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """E[X] and Std[X], each of shape (1, C)."""
        if self._uses_batch_statistics:
            mean = x.mean((0, 2, 3))
            var = x.var((0, 2, 3), unbiased=False)
        else:
            mean = cast(self.bn.running_mean, self._compute_dtype)
            var = cast(self.bn.running_var, self._compute_dtype)
        return mean[None], torch.sqrt(var + self.bn.eps)[None]

    def _scale_shift(self, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and lambda, each of shape (1, C, 1, 1)."""
        sc = self.sc
        if self.fuse == 'fc1':
            alpha, shift = sc.fc2((sc.fc1(mean) + sc.fc1(std)).sigmoid())
        else:
            alpha, shift = sc(mean)
            more_alpha, more_shift = sc(std)
            alpha, shift = alpha + more_alpha, shift + more_shift
        alpha = alpha + cast(self.alpha_offset, self._compute_dtype)
        shift = shift + cast(self.lambda_offset, self._compute_dtype)
        return alpha[:, :, None, None], shift[:, :, None, None]

    def extra_repr(self) -> str:
        """Arguments that the members do not show."""
        return f'{super().extra_repr()}, fuse={self.fuse!r}'
