"""Training what a comparison lacks."""

from collections.abc import Sequence

from ..jobs import Training, run_all
from .read_run import LeftOut, read_run

__all__ = ['train_missing']


def train_missing(
    trainings: Sequence[Training], costs: dict[str, float], workers: int | None = None
) -> dict[str, str]:
    """Train what is not whole yet, several at a time.

    A run whose loss ceased to be finite is a result: it is not tried again, and a run that fails
    does not stop the others.

    Args:
        trainings (Sequence[Training]): in this order where those that they start from allow it.
        costs (dict[str, float]): name of each to its expected seconds; proportions count.
        workers (int, optional): runs at a time. Default: one for each core, with a GPU 1.

    Returns:
        dict[str, str]: work folder of each run without a whole result to the reason.

    Raises:
        UserError: a configuration cannot be read.
        KeyboardInterrupt: with how to go on.
    """
    try:
        failed = run_all(trainings, costs, workers, diverged)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            'the same command goes on, with each run from its last checkpoint'
        ) from None
    return {
        str(training.work_dir): failed[training.name]
        for training in trainings
        if training.name in failed
    }


def diverged(training: Training) -> str:
    """How the loss of a run ceased to be finite, '' where it did not."""
    try:
        found = read_run(str(training.work_dir)).diverged
    except LeftOut:
        return ''
    return f'diverged: {found} (delete {training.work_dir} to train it again)' if found else ''
