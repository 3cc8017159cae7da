"""The table of a benchmark."""

from pathlib import Path

from ...engine.atomic import atomic_write
from ...markdown import markdown_table
from ...ops.benchmark.tables import results_table
from .bars import bars_table
from .cells import MOBILENET, NORMS
from .results import Results

__all__ = ['write_report']

STEPS = {
    'train': 'training step (forward, loss, backward)',
    'eval': 'forward pass in evaluation, without gradients',
}
LEGEND = (
    'Medians over the rounds, in which all norms take turns in one process. `time / BN` is a '
    'ratio of medians, in brackets the quartiles over the ratios of single rounds. *saved* '
    'is what the forward pass leaves for the backward, *peak* the most that a step holds '
    'beside weights and input.'
)


def write_report(results: Results, out: Path) -> str:
    """Write ``benchmark.md`` into a folder.

    Args:
        results (Results): finished cells.
        out (Path): the folder.

    Returns:
        str: what was written.
    """
    parts = [_machine(results.environment), LEGEND]
    groups: dict[tuple, list[dict]] = {}
    for cell in results.cells:
        key = cell['model'], cell['mode'], cell['layout'], cell['dtype'], cell['optimizer']
        groups.setdefault(key, []).append(cell)
    for (model, mode, layout, dtype, optimizer), cells in groups.items():
        step = STEPS[mode] + (' and SGD' if optimizer else '')
        parts.append(f'### {model}: {step}, {layout}, {dtype}')
        cells = sorted(cells, key=lambda cell: (cell['size'], cell['batch']))
        parts.append(
            results_table(
                [
                    (f'{cell["batch"]} x {cell["size"]}', dict(row, norm=NORMS[row['norm']].label))
                    for cell in cells
                    for row in cell['rows']
                ],
                'batch x size',
            )
        )
        parts += _notes(cells)
    if any(model == MOBILENET for model, *_ in groups):  # Whom the bars are about.
        parts += ['### Bars', markdown_table(bars_table(results))]
    text = '\n\n'.join(parts) + '\n'
    with atomic_write(out / 'benchmark.md') as file:
        file.write(text.encode())
    return text


def _machine(environment):
    device, threads = environment['device'], environment['threads']
    device = (
        f'{environment["cpu"]}, {threads} thread{"s" * (threads > 1)} on '
        f'{environment["cores"]} cores, {environment["capability"]}'
        if device == 'cpu'
        else f'{device}, CUDA {environment["cuda"]}, cuDNN {environment["cudnn"]}'
    )
    variables = ', '.join(f'{name}={value}' for name, value in environment['variables'].items())
    return (
        f'{device}; torch {environment["torch"]}, Python {environment["python"]}, dn_mmdet '
        f'{environment["dn_mmdet"]} ({environment["code"]}); denormals '
        f'{"flushed" if environment["flush_denormal"] else "kept"}; '
        f'{variables or "no variables set"}.'
    )


def _notes(cells):
    rounds = sorted({row['rounds'] for cell in cells for row in cell['rows']})
    notes = [f'Rounds: {", ".join(map(str, rounds))}.']
    left_out = {norm: reason for cell in cells for norm, reason in cell['left_out'].items()}
    notes += [f'Not run: {NORMS[norm].label} ({reason}).' for norm, reason in left_out.items()]
    return [' '.join(notes)]
