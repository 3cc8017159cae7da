"""All cells of a benchmark: what is missing is measured, then table and picture are written."""

from collections.abc import Sequence
from pathlib import Path

import torch

from ...utils.errors import UserError
from ...utils.progress import Progress
from .. import describe_environment, process_settings
from .cells import Cell
from .measure import measure_cell
from .report import judge, plot_ratios, write_report
from .results import Results

__all__ = ['run_benchmark']


def run_benchmark(
    cells: Sequence[Cell],
    out: str | Path = 'work_dirs/benchmark',
    device: str = 'cpu',
    threads: int | None = None,
) -> bool:
    """Measure every cell that the result file does not hold yet, then write and print the report.

    A finished cell is in the file at once; an interrupted one begins anew. Cells count as finished
    when machine, versions, code and process settings are the same.

    Args:
        cells (Sequence[Cell]): what to measure.
        out (str | Path): folder of ``benchmark.json``, ``benchmark.md`` and ``ratios.png``.
            Default: 'work_dirs/benchmark'.
        device (str): 'cpu', 'cuda' or 'cuda:N'. Default: 'cpu'.
        threads (int, optional): default: as torch chooses.

    Returns:
        bool: whether no bar was missed.

    Raises:
        UserError: a device, model or input that cannot be used, or a foreign file in ``out``.
        KeyboardInterrupt: with how to go on.
    """
    device, out = _device(device), Path(out)
    with process_settings(threads):
        results = Results(out / 'benchmark.json', describe_environment(device))
        if results.set_aside:
            print(f'results of another machine, code or settings are now in {results.set_aside}')
        try:
            _measure(cells, results, device)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f'{len(results.cells)} cells are in {results.file}; the same '
                'command goes on with the missing ones'
            ) from None
    text = write_report(results, out)
    drawn = plot_ratios(results, out / 'ratios.png')
    print(f'\n{text}\nIn {out}/: benchmark.json, benchmark.md{", ratios.png" if drawn else ""}')
    return all(verdict != 'missed' for _, _, verdict in judge(results))


def _measure(cells, results, device):
    progress = Progress({cell.name: cell.cost for cell in cells})
    for cell in cells:
        if results.find(cell):
            progress.skip(cell.name, 'there already')
            continue
        step = progress.start(cell.name)
        measured = measure_cell(
            cell, device, lambda done, of, step=step: step.show(done / of, f'round {done}/{of}')
        )
        results.add(measured)
        step.finish(
            ', '.join(f'{row["norm"]} {row["ratio"]:.2f}' for row in measured['rows'][1:]) or 'done'
        )


def _device(name):
    try:
        device = torch.device(name)
        if device.type not in ('cpu', 'cuda'):
            raise UserError(f'--device must be cpu or cuda, but got {name}.')
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f'--device {name} cannot be used ({str(error).splitlines()[0]}): choose '
            'cpu, or install the torch that fits the device.'
        ) from error
    return device
