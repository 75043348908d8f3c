"""Tensor store: fragment tensors and bond matrices as memory-mappable files.

A directory on a shared file system with one ``.npy`` file a tensor, bond and group of
covariances, rows of the batch first. A rank reads the parts that its share needs, and
nothing in between holds a whole tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.reconstruction.boxes import Region
from pilotcut.reconstruction.contraction import Contraction


@dataclass(frozen=True)
class TensorStore:
    """Tensors of one batch in a directory, from which operands of a contraction are read."""

    directory: Path

    @classmethod
    def write(
        cls,
        directory: Path | str,
        tensors: Sequence[FragmentTensor],
        bonds: Sequence[np.ndarray],
    ) -> TensorStore:
        """Write a batch; tensors (batch, observables, *sites), bonds (batch or 1, d0, d1)."""
        store = cls(Path(directory))
        store.directory.mkdir(parents=True, exist_ok=True)
        for f, tensor in enumerate(tensors):
            np.save(store._fragment(f), tensor.values)
            for group, covariance in enumerate(tensor.covariances):
                np.save(store._covariance(f, group), covariance)
        for number, bond in enumerate(bonds):
            np.save(store._bond(number), bond)
        return store

    def layout(self, contraction: Contraction) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
        """Return shape and type of every operand (batch, terms or 1, *sites)."""
        terms, fragments = contraction.term_index.shape
        found = []
        for k in range(len(contraction.indices)):
            array = self._open(self._path(contraction, k))
            axes = array.shape[2:] if k < fragments else array.shape[1:]
            shape = (array.shape[0], terms if k < fragments else 1, *axes)
            found.append((shape, array.dtype))
        return found

    def load(self, contraction: Contraction, operand: int, region: Region) -> np.ndarray:
        """Return a part of an operand (batch, terms, *sites), read from its file."""
        array = self._open(self._path(contraction, operand))
        rows, terms, *sites = region
        if operand < contraction.term_index.shape[1]:
            chosen = contraction.term_index[terms, operand]
            return np.array(array[(rows, slice(None), *sites)][:, chosen])
        # Copied, as a view would keep the file mapped.
        return np.array(array[(rows, *sites)])[:, None]

    def covariances(self, fragment: int, groups: int, rows: slice) -> tuple[np.ndarray, ...]:
        """Return some rows of the covariances of a fragment's groups."""
        paths = [self._covariance(fragment, group) for group in range(groups)]
        return tuple(np.array(self._open(path)[rows]) for path in paths)

    def has_covariances(self) -> bool:
        """Whether any tensor comes from shots."""
        return any(self.directory.glob("fragment-*-group-*.npy"))

    @staticmethod
    def _open(path: Path) -> np.ndarray:
        """Map a file, for one read: what is mapped counts as this process's memory."""
        array: np.ndarray = np.load(path, mmap_mode="r")
        return array

    def _path(self, contraction: Contraction, operand: int) -> Path:
        fragments = contraction.term_index.shape[1]
        return self._fragment(operand) if operand < fragments else self._bond(operand - fragments)

    def _fragment(self, number: int) -> Path:
        return self.directory / f"fragment-{number}.npy"

    def _bond(self, number: int) -> Path:
        return self.directory / f"bond-{number}.npy"

    def _covariance(self, fragment: int, group: int) -> Path:
        return self.directory / f"fragment-{fragment}-group-{group}.npy"
