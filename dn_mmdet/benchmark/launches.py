"""What a layer starts on a GPU, without one: its Triton kernels, compiled, and what limits them."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..ops.activation import Gate
from ..ops.backends import triton as kernels
from ..ops.backends.kernels import RunningStatistics
from ..ops.backends.triton_launch import Launch, kernel_of, note_launches
from ..ops.sc import SCForm, SCWeights
from ..utils.errors import UserError
from ..utils.python39 import zip_strict

__all__ = ['Usage', 'compile_launch', 'layer_launches', 'moved_bytes', 'usage_of']

TYPES = {
    torch.float32: '*fp32', torch.bfloat16: '*bf16', torch.float16: '*fp16', torch.int32: '*i32',
    int: 'i32', float: 'fp32',
}  # fmt: skip
# Of a multiprocessor of compute capability 9.0, CUDA C++ Programming Guide, table of technical
# specifications: registers, allocated to a warp 256 at a time; warps; blocks; shared memory, of
# which the system takes 1 KiB a block.
REGISTERS, REGISTERS_AT_A_TIME, WARPS, BLOCKS, SHARED = 65536, 256, 64, 32, 228 * 2**10
SHARED_OF_SYSTEM = 2**10


class Usage(NamedTuple):
    """What a compiled kernel takes.

    Attributes:
        registers (int): Of a thread.
        spilled (int): Bytes of a thread that found no register.
        shared (int): Bytes of a program.
        warps (int): Of a program.
    """

    registers: int
    spilled: int
    shared: int
    warps: int

    @property
    def resident(self) -> int:
        """Programs that a multiprocessor has at a time, if there are enough."""
        of_a_warp = -(-self.registers * 32 // REGISTERS_AT_A_TIME) * REGISTERS_AT_A_TIME
        return min(
            REGISTERS // of_a_warp // self.warps,
            WARPS // self.warps,
            BLOCKS,
            SHARED // (self.shared + SHARED_OF_SYSTEM),
        )


def layer_launches(
    x: Tensor, weights: SCWeights, bounds: tuple[float, float] | None
) -> tuple[list[Launch], list[Launch]]:
    """The kernels of one DN-B layer in its paper's form; nothing is computed.

    Args:
        x (Tensor): Its input, on any device, such as 'meta'.
        weights (SCWeights): Float32, likewise.
        bounds (tuple[float, float], optional): Of the activation.

    Returns:
        tuple[list[Launch], list[Launch]]: Of a training step, and of evaluation.
    """
    form, mean, var = SCForm(), weights.alpha_offset, weights.lambda_offset
    count = x.numel() // x.shape[1]
    with note_launches() as training:
        y, means, mean, var, rstd, hidden, scale, shift = kernels.fused_forward(
            x, None, None, weights, 1e-5, form, bounds, RunningStatistics(mean, var, 0.1)
        )
        dy, gate = torch.empty_like(y), Gate(scale, shift, bounds) if bounds else None
        gradients = kernels.fused_gradients(
            dy, x, means, mean, rstd, hidden, scale, weights.fc1_weight, weights.fc2_weight,
            count, form, False, gate,
        )  # fmt: skip
        kernels.plane_gradient(dy, x, scale, gradients.slope, gradients.offset, gate)
    with note_launches() as evaluation:
        kernels.evaluate(x, mean, var, weights, 1e-5, form, bounds)
    return training, evaluation


def moved_bytes(launch: Launch) -> int:
    """Bytes of all tensors of a launch: each has to pass between memory and processor once."""
    tensors = {id(arg): arg for arg in launch.args if isinstance(arg, Tensor)}
    return sum(tensor.nbytes for tensor in tensors.values())


def compile_launch(launch: Launch, capability: int) -> Any:
    """What Triton makes of it; no GPU is needed.

    Args:
        launch (Launch): A kernel and what it is called with.
        capability (int): Compute capability, 90 for 9.0.
    """
    from triton import compile
    from triton.backends.compiler import GPUTarget

    constants = dict(launch.constants)
    options = {'num_warps': constants.pop('num_warps', 4)}
    source = _source(kernel_of(launch.kernel), launch.args, constants)
    return compile(source, target=GPUTarget('cuda', capability, 32), options=options)


def usage_of(kernel: Any) -> Usage:
    """Registers and memory of a compiled kernel, which NVIDIA's tool reads from it.

    Raises:
        UserError: The tool, which Triton brings, does not run.
    """
    import triton

    tool = Path(triton.__file__).parent / 'backends/nvidia/bin/cuobjdump'
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'kernel.cubin'
        file.write_bytes(kernel.asm['cubin'])
        try:
            told = subprocess.run(
                [tool, '-res-usage', file], capture_output=True, text=True, check=True
            ).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise UserError(
                f'{tool} cannot tell the registers of a kernel ({error}): install a Triton that '
                'brings a cuobjdump which runs here.'
            ) from error
    registers, spilled = map(int, re.search(r'REG:(\d+) STACK:(\d+)', told).groups())
    return Usage(registers, spilled, kernel.metadata.shared, kernel.metadata.num_warps)


def _source(function: Any, args: tuple[Any, ...], constants: dict[str, Any]) -> Any:
    import triton.compiler.compiler as triton_compiler

    names = [name for name in function.arg_names if name not in constants]
    given = dict(zip_strict(names, args))
    kinds = {name: getattr(value, 'dtype', type(value)) for name, value in given.items()}
    signature = {
        name: 'constexpr' if name in constants else TYPES[kinds[name]]
        for name in function.arg_names
    }
    pointers = [i for i, kind in enumerate(signature.values()) if kind.startswith('*')]
    if attributes := getattr(triton_compiler, 'AttrsDescriptor', None):  # Before Triton 3.3.
        signature = {name: kind for name, kind in signature.items() if kind != 'constexpr'}
        if hasattr(attributes, 'from_hints'):
            aligned = attributes.from_hints(dict.fromkeys(pointers, 16))
        else:
            aligned = attributes({*pointers})
    else:
        aligned = {(i,): [['tt.divisibility', 16]] for i in pointers}
    return triton_compiler.ASTSource(function, signature, constants, aligned)
