"""Functions that run in several processes at once, which can reach each other with gloo."""

import multiprocessing
import tempfile
import time
import traceback
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

SECONDS = 60


def run_together(function, *arguments, world=2):
    """What ``function(rank, *arguments)`` returns in each process, in the order of ranks.

    The function is found by its name in its module, which need not be a module of tests.
    """
    # Forks of a process that has imported torch and done nothing else: safe, and quick to start.
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['torch.distributed', 'torch._dynamo', 'dn_mmdet.layers'])
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        processes = [
            context.Process(target=_work, args=(function, rank, world, folder, arguments))
            for rank in range(world)
        ]
        try:
            for process in processes:
                process.start()
            _wait(processes, folder)
            return [torch.load(folder / f'{rank}.pt', weights_only=False) for rank in range(world)]
        finally:
            for process in processes:
                if process.is_alive():
                    process.kill()
                process.join()


def _wait(processes, folder):
    end = time.monotonic() + SECONDS
    while any(process.exitcode is None for process in processes):
        failed = [process.exitcode for process in processes if process.exitcode]
        if failed or time.monotonic() > end:
            break
        time.sleep(0.01)
    if any(process.exitcode != 0 for process in processes):
        errors = '\n'.join(path.read_text() for path in sorted(folder.glob('*.txt')))
        raise AssertionError(errors or f'no result: {[process.exitcode for process in processes]}')


def _work(function, rank, world, folder, arguments):
    torch.set_num_threads(1)
    dist.init_process_group(
        'gloo',
        init_method=f'file://{folder}/store',
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=SECONDS / 2),
    )
    try:
        torch.save(function(rank, *arguments), folder / f'{rank}.pt')
        dist.barrier()
    except BaseException:
        (folder / f'{rank}.txt').write_text(f'rank {rank}: {traceback.format_exc()}')
        raise
    finally:
        dist.destroy_process_group()
