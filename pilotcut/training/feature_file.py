"""Features that a user has computed: a file of NumPy's with `features` and `labels`."""

from __future__ import annotations

import zlib
from zipfile import BadZipFile

import numpy as np

from pilotcut.errors import DataError

#: How the names of such files end.
FEATURES = ".npz"


def read_features(path: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return features (samples, features), classes (samples,) from 0, and their names.

    Raises
    ------
    DataError
        If it is no file with such arrays.
    """
    place = f"dataset: '{path}'"
    wanted = "expected arrays features (samples, features) and labels (samples,)"
    try:
        # Arrays and no pickle: a foreign file runs nothing.
        with np.load(path, allow_pickle=False) as kept:
            features, labels = kept["features"], kept["labels"]
    except FileNotFoundError:
        raise DataError(f"{place} does not exist, {wanted}; np.savez writes them") from None
    except (OSError, EOFError, KeyError, ValueError, zlib.error, BadZipFile) as error:
        raise DataError(f"{place} cannot be read ({error}), {wanted}") from None
    if features.ndim != 2 or features.dtype.kind not in "iuf" or labels.shape != features.shape[:1]:
        raise DataError(
            f"{place} has features {features.dtype} {features.shape} and labels {labels.shape}, "
            f"{wanted}"
        )
    if not np.isfinite(features).all():
        raise DataError(f"{place} has features that are not finite, expected numbers")
    names, classes = np.unique(labels, return_inverse=True)
    if len(names) != 2:
        shown = ", ".join(map(str, names[:5]))
        raise DataError(f"{place} has labels {shown}, expected two different ones")
    return features.astype(np.float64), classes, [str(name) for name in names]
