"""Which group each group is compared with."""

from pathlib import Path

from ..engine.errors import UserError
from .differences import differences, is_expected
from .groups import Group

__all__ = ['choose_baselines', 'find_group']


def find_group(groups: list[Group], name: str) -> Group:
    """The group that a user means.

    Args:
        groups (list[Group]): to choose from.
        name (str): a label, a norm ('BN', 'DN-B'), or the work folder of a run in the group.

    Raises:
        UserError: no group, or several, have that name.
    """
    wanted = name.casefold()
    for names in (
        lambda group: [group.label],
        lambda group: [str(group.first.module)],
        lambda group: [group.first.module.name],
        lambda group: [
            text
            for run in group.runs
            for text in (run.work_dir, str(Path(run.work_dir)), Path(run.work_dir).resolve().name)
        ],
    ):
        found = [group for group in groups if wanted in [text.casefold() for text in names(group)]]
        if len(found) == 1:
            return found[0]
        if found:
            break
    labels = ', '.join(repr(group.label) for group in groups)
    raise UserError(
        f'--baseline {name} names {len(found)} of the groups of runs: give one of '
        f'{labels}, or the work folder of a run.'
    )


def choose_baselines(groups: list[Group], fixed: Group | None) -> dict[str, Group]:
    """The baseline of each group that has one.

    Args:
        groups (list[Group]): that are compared.
        fixed (Group, optional): the baseline of all others. Default: of each group the BN group
            that differs in the fewest settings beside norm and checkpoint, so that BN at batch
            2 is what DN-B at batch 2 is compared with.

    Returns:
        dict[str, Group]: label to baseline; a baseline has none itself.

    Raises:
        UserError: nothing is fixed, and there is no group with BN, or none without.
    """
    if fixed is not None:
        return {group.label: fixed for group in groups if group is not fixed}
    candidates = [group for group in groups if group.first.module.name == 'BN']
    others = [group for group in groups if group not in candidates]
    if not candidates or not others:
        labels = ', '.join(repr(group.label) for group in groups)
        raise UserError(
            f'{"none" if not candidates else "each"} of the groups of runs has BN: '
            f'name the baseline with --baseline, one of {labels}.'
        )
    return {
        group.label: min(candidates, key=lambda bn: (_distance(bn, group), -len(bn.runs), bn.label))
        for group in others
    }


def _distance(first, second):
    return sum(
        not is_expected(found)
        for found in differences(first.first.effective, second.first.effective)
    )
