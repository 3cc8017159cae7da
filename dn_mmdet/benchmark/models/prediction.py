"""Predict what MobileNetV2's norms take on a GPU, DN-B and BN, without one.

DN-B's Triton kernels are compiled, not run: their launches, registers and bytes are facts, and the
times are what these facts allow, to be held against a measurement. BN is one of 2 launches forward
and 2 backward that move no byte twice, and each ReLU6 one launch forward and one backward.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...backbones import MobileNetV2DN
from ...layers import DNB
from ...ops.activation import bounds_of
from ...ops.backends import triton_launch
from ...ops.backends.triton_launch import Launch
from ...ops.sc import SCWeights
from ...utils.errors import UserError, user_errors
from ...utils.text import HelpFormatter, markdown_table, whole_number
from ..case import DTYPES, LAYOUTS
from ..launches import Usage, compile_launch, layer_launches, moved_bytes, usage_of
from .cases import NORMS

__all__ = ['CARDS', 'Card', 'Part', 'predict_bn', 'predict_dnb', 'trace_norms']

# Compiled for this compute capability, 9.0, whichever the card.
CAPABILITY = 90


class Card(NamedTuple):
    """What the times follow from.

    Attributes:
        name (str): In the table.
        bandwidth (float): Of its memory, bytes a second.
        processors (int): Multiprocessors.
    """

    name: str
    bandwidth: float
    processors: int


# NVIDIA's data sheets of the H200 and the V100.
CARDS = (Card('4.8 TB/s', 4.8e12, 132), Card('0.9 TB/s', 0.9e12, 80))
# Assumed, not measured: seconds from one kernel's end to the next one's first load, and from a load
# to its number.
GAP, LATENCY = 2e-6, 8e-7


class Norm(NamedTuple):
    """A norm in the network.

    Attributes:
        x (Tensor): Its input, without numbers.
        weights (SCWeights): Of its SC-Module, without numbers.
        activation (str, optional): That follows.
    """

    x: Tensor
    weights: SCWeights
    activation: str | None


class Part(NamedTuple):
    """All launches of one kernel.

    Attributes:
        kernel (str): Its name.
        launches (list[tuple[int, int, Usage, int]]): Of each: programs, bytes, what the compiled
            kernel takes (None for a kernel of others) and the bytes that a program has on the way.
    """

    kernel: str
    launches: list[tuple[int, int, Usage | None, int]]

    def seconds(self, card: Card) -> float:
        """What memory, the numbers that are on the way at a time and the gaps allow."""
        total = 0.0
        for programs, moved, usage, on_the_way in self.launches:
            bandwidth = card.bandwidth
            if usage:
                resident = min(usage.resident, -(-programs // card.processors))
                bandwidth = min(bandwidth, card.processors * resident * on_the_way / LATENCY)
            total += GAP + moved / bandwidth
        return total


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments (Sequence[str], optional): Defaults to those of the process.
    """
    parser = argparse.ArgumentParser(
        'python -m dn_mmdet.benchmark.models.prediction',
        description=__doc__,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add('--batch', type=whole_number(1), default=64, help='images (default: %(default)s)')
    add(
        '--size',
        type=whole_number(32),
        default=320,
        help='height and width in pixels (default: %(default)s)',
    )
    add(
        '--dtype',
        nargs='+',
        choices=DTYPES,
        default=DTYPES[:2],
        help='of the maps (default: float32 and bfloat16)',
    )
    add(
        '--layout',
        choices=tuple(LAYOUTS),
        default='channels_last',
        help='of the maps (default: %(default)s)',
    )
    args = parser.parse_args(arguments)
    with user_errors():
        if reason := triton_launch.why_absent():
            raise UserError(
                f'the kernels cannot be compiled without Triton ({reason}): install it, or a CUDA '
                'build of PyTorch, which includes it.'
            )
        for dtype in args.dtype:
            norms = trace_norms(args.batch, args.size, dtype, args.layout)
            training, evaluation = predict_dnb(norms)
            print(f'{dtype}, {args.layout}, batch {args.batch} at {args.size}: {len(norms)} norms')
            bn = predict_bn(norms)
            for name, parts, base in (
                ('training step', training, bn[0]),
                ('evaluation', evaluation, bn[1]),
            ):
                print(f'\n{markdown_table(_table(name, parts, base))}\n', flush=True)


def trace_norms(batch: int, size: int, dtype: str, layout: str) -> list[Norm]:
    """The norms of MobileNetV2 with DN-B, in the order in which they run.

    Args:
        batch (int): Images.
        size (int): Height and width in pixels.
        dtype (str): Of the maps.
        layout (str): Of the maps.
    """
    found = []

    def note(layer: DNB, inputs: tuple[Tensor]) -> None:
        x = inputs[0].to(getattr(torch, dtype)).contiguous(memory_format=LAYOUTS[layout])
        offsets, sc = (layer.alpha_offset, layer.lambda_offset), layer.sc
        weights = sc.fc1_weight, sc.fc1_bias, sc.fc2_weight, *offsets
        found.append(Norm(x, SCWeights(*weights), layer.activation))

    with torch.device('meta'), torch.no_grad():
        model = MobileNetV2DN(norm_cfg=dict(NORMS['DNB'].cfg), out_indices=(7,)).eval()
        for module in model.modules():
            if isinstance(module, DNB):
                module.register_forward_pre_hook(note)
        model(torch.empty(batch, 3, size, size))
    return found


def predict_dnb(norms: Sequence[Norm]) -> tuple[list[Part], list[Part]]:
    """The kernels of DN-B in a training step and in evaluation.

    Args:
        norms (Sequence[Norm]): As :func:`trace_norms` returns them.
    """
    compiled: dict[tuple, Usage] = {}
    modes: tuple[dict[str, Part], dict[str, Part]] = ({}, {})
    for norm in norms:
        both = layer_launches(norm.x, norm.weights, bounds_of(norm.activation))
        for parts, launches in zip(modes, both):
            for launch in launches:
                kinds = tuple(getattr(arg, 'dtype', type(arg)) for arg in launch.args)
                key = launch.kernel, kinds, tuple(sorted(launch.constants.items()))
                if key not in compiled:
                    print(f'compiling kernel {len(compiled) + 1}: {launch.kernel}', file=sys.stderr)
                    compiled[key] = usage_of(compile_launch(launch, CAPABILITY))
                part = parts.setdefault(launch.kernel, Part(launch.kernel, []))
                part.launches.append(
                    (launch.programs, moved_bytes(launch), compiled[key], _on_the_way(launch))
                )
    return tuple(list(parts.values()) for parts in modes)


def predict_bn(norms: Sequence[Norm]) -> tuple[list[Part], list[Part]]:
    """The same of BN, followed by ReLU6 in place where DN-B has it.

    Args:
        norms (Sequence[Norm]): As :func:`trace_norms` returns them.
    """
    # Maps that a launch reads and writes.
    training = {'statistics': 1, 'affine': 2, 'products': 2, 'gradient': 3}
    evaluation = {'affine': 2}
    activation = {'ReLU6': 2, 'gradient of ReLU6': 3}
    kinds = (training, activation), (evaluation, {'ReLU6': 2})
    return tuple(
        [
            Part(name, [(0, maps * norm.x.nbytes, None, 0) for norm in some])
            for names, some in (
                (plain, norms),
                (behind, [norm for norm in norms if norm.activation]),
            )
            for name, maps in names.items()
        ]
        for plain, behind in kinds
    )


def _on_the_way(launch: Launch) -> int:
    """Bytes of the tiles that a program asks for at once; of numbers without a tile, all of it."""
    if 'BLOCK_S' not in launch.constants:
        return moved_bytes(launch) // launch.programs
    tile = launch.constants['BLOCK_C'] * launch.constants['BLOCK_S']
    # Read or written before the next: all maps of a kernel.
    maps = {id(arg): arg for arg in launch.args if isinstance(arg, Tensor) and arg.dim() == 4}
    return sum(tile * arg.element_size() for arg in maps.values())


def _table(name: str, parts: list[Part], base: list[Part]) -> list[tuple[str, ...]]:
    lines = [
        (
            name, 'launches', 'GB', 'programs', 'registers', 'spilled', 'shared KiB',
            'warps at a time', *(f'ms at {card.name}' for card in CARDS),
        )
    ]  # fmt: skip
    for part in parts:
        used = [usage for _, _, usage, _ in part.launches]
        lines.append(
            (
                part.kernel,
                str(len(part.launches)),
                _gigabytes([part]),
                _range(programs for programs, *_ in part.launches),
                _range(usage.registers for usage in used),
                _range(usage.spilled for usage in used),
                _range(round(usage.shared / 2**10) for usage in used),
                _range(usage.resident * usage.warps for usage in used),
                *(f'{1e3 * part.seconds(card):.2f}' for card in CARDS),
            )
        )
    for label, some in (('DN-B', parts), ('BN, ReLU6', base)):
        lines.append(
            (
                label, str(sum(len(part.launches) for part in some)), _gigabytes(some),
                *[''] * 5, *(f'{_milliseconds(some, card):.2f}' for card in CARDS),
            )
        )  # fmt: skip
    ratios = (_milliseconds(parts, card) / _milliseconds(base, card) for card in CARDS)
    lines.append(('DN-B / BN, ReLU6', *[''] * 7, *(f'{ratio:.2f}' for ratio in ratios)))
    return lines


def _milliseconds(parts: list[Part], card: Card) -> float:
    return 1e3 * sum(part.seconds(card) for part in parts)


def _gigabytes(parts: list[Part]) -> str:
    return f'{sum(moved for part in parts for _, moved, *_ in part.launches) / 1e9:.2f}'


def _range(numbers: Sequence[int]) -> str:
    numbers = sorted(set(numbers))
    return str(numbers[0]) if len(numbers) == 1 else f'{numbers[0]} to {numbers[-1]}'


if __name__ == '__main__':
    main()
