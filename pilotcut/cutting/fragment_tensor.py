"""Fragment tensors: expectations of a fragment's variants, and the blocks that fill them.

``T[batch, observable, i_1, ..., i_k]`` is the expectation of a sub-observable with operation
``i_s`` at each site s. Refuses to know who measured, and what the tensors are contracted with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pilotcut.cutting.fragment import Fragment


@dataclass(frozen=True)
class Block:
    """Estimates of some settings of one group, for some parameter sets, from one work unit.

    Parameters
    ----------
    group
        The group of sub-observables.
    variants
        Integer array (settings,): places among the fragment's settings.
    means
        (rows, settings, g): expectations of the group's sub-observables, of each with every
        outcome of the setting, see `Fragment.entries`.
    covariances
        (rows, settings, g, g): covariances of these estimates.
    """

    group: int
    variants: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


@dataclass(frozen=True)
class FragmentTensor:
    """Estimates of one fragment's tensor, with their covariances.

    Parameters
    ----------
    values
        (batch, observables, *variant_shape), expectations in [-1, 1].
    covariances
        For each group of sub-observables, (batch, settings, g, g): the covariances of its
        estimates, which come from the same shots, see `Fragment.entries`.
    """

    values: np.ndarray
    covariances: tuple[np.ndarray, ...]

    @classmethod
    def empty(cls, fragment: Fragment, batch: int) -> FragmentTensor:
        """Return a tensor with its trivial entries set and all else to be filled."""
        # NaN and not 0: what nobody fills shows in the values.
        values = np.where(fragment.trivial, 1.0, np.nan)
        return cls(
            np.repeat(values[None], batch, axis=0),
            tuple(
                np.zeros((batch, fragment.num_settings, each, each))
                for each in (len(g) * fragment.outcomes for g in fragment.groups)
            ),
        )

    def fill(self, fragment: Fragment, rows: slice, block: Block) -> None:
        """Write a block over the parameter sets `rows`."""
        # A view, since the array is contiguous: what is written here fills it.
        flat = self.values.reshape(len(self.values), -1)
        flat[rows, fragment.entries[block.group][block.variants]] = block.means
        self.covariances[block.group][rows, block.variants] = block.covariances
