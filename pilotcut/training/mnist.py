"""MNIST from local files: IDX, plain or gzipped, or an .npz archive.

Files are not trusted: whatever they hold, a fault is one line that names the file. Knows nothing
of splits and features, and never touches the network.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pilotcut.errors import DataError

_EXPECTED = (
    "expected train-images-idx3-ubyte and train-labels-idx1-ubyte (or both as .gz), or mnist.npz "
    "with x_train and y_train; put them there or name their folder with --data-dir"
)

_IDX_DIMENSIONS = {"images": 3, "labels": 1}


def read_mnist(data_dir: str | Path | None) -> tuple[np.ndarray, NDArray[np.int64]]:
    """Return images (samples, pixels) as they lie in the files, and their digits (samples,).

    Parameters
    ----------
    data_dir
        Folder of the IDX files of the original distribution, plain or ``.gz``, or of an ``.npz``
        file with arrays ``x_train`` and ``y_train``. A test part, where there is one, follows
        the other.

    Raises
    ------
    DataError
        If files are missing, cannot be read, or hold something else.
    """
    folder = _folder(data_dir)
    parts = [part for prefix in ("train", "t10k") if (part := _idx_part(folder, prefix))]
    parts = parts or _npz_parts(folder)
    if not parts:
        raise DataError(f"data_dir: found no MNIST in '{folder}', {_EXPECTED}")
    flat = [images.reshape(len(images), -1) for images, _ in parts]
    sizes = [part.shape[1] for part in flat]
    if len(set(sizes)) > 1:
        raise DataError(
            f"data_dir: images for training in '{folder}' have {sizes[0]} pixels, those for "
            f"testing {sizes[1]}, expected as many; fetch both again"
        )
    return np.concatenate(flat), np.concatenate([labels for _, labels in parts])


def _folder(data_dir: str | Path | None) -> Path:
    """Return the folder of the MNIST files if there is one."""
    if data_dir is None:
        raise DataError(f"data_dir: missing, MNIST is read from local files: {_EXPECTED}")
    folder = Path(data_dir).expanduser()
    if not folder.is_dir():
        raise DataError(f"data_dir: '{folder}' is not a folder, {_EXPECTED}")
    return folder


def _idx_part(folder: Path, prefix: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return images and labels of the part `train` or `t10k`, None where neither is there."""
    images, labels = (_find_idx(folder, f"{prefix}-{kind}") for kind in _IDX_DIMENSIONS)
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        missing = "images-idx3" if images is None else "labels-idx1"
        raise DataError(
            f"{images or labels}: found without its other half, expected "
            f"{prefix}-{missing}-ubyte (or .gz) beside it; put it there"
        )
    return _checked_part(images, _read_idx(images, "images"), _read_idx(labels, "labels"))


def _find_idx(folder: Path, stem: str) -> Path | None:
    """Return the IDX file of that stem, with '-' or '.' before its type, plain or gzipped."""
    dimensions = _IDX_DIMENSIONS[stem.rsplit("-", 1)[1]]
    names = (f"{stem}{dot}idx{dimensions}-ubyte{gz}" for gz in ("", ".gz") for dot in "-.")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read_idx(path: Path, kind: str) -> np.ndarray:
    """Return the bytes of an IDX file in the shape that its header gives.

    References
    ----------
    The format is described with the original distribution of MNIST: two zero bytes, the type (8
    for unsigned bytes), the number of dimensions, the sizes as big-endian 32-bit, the data.
    """
    raw = _read_bytes(path)
    dimensions = _IDX_DIMENSIONS[kind]
    magic, start = bytes([0, 0, 8, dimensions]), 4 + 4 * dimensions
    if raw[:4] != magic or len(raw) < start:
        raise DataError(
            f"{path}: header is 0x{raw[:4].hex()}, expected 0x{magic.hex()} for MNIST {kind}; "
            "fetch the file again"
        )
    shape = tuple(int(size) for size in np.frombuffer(raw, ">u4", dimensions, 4))
    if len(raw) - start != math.prod(shape):
        raise DataError(
            f"{path}: holds {len(raw) - start} bytes of data, expected {math.prod(shape)} for "
            f"shape {shape}; fetch the file again"
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _read_bytes(path: Path) -> bytes:
    """Return the content of a file, unpacked where it is gzipped."""
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read ({error}), expected an IDX file; fetch it again"
        ) from None


def _npz_parts(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the train part, and the test part where there is one, of an .npz file."""
    path = _find_npz(folder)
    if path is None:
        return []
    arrays = _read_npz(path)
    if not {"x_train", "y_train"} <= arrays.keys():
        raise DataError(
            f"{path}: holds {', '.join(sorted(arrays)) or 'nothing'}, expected arrays x_train and "
            "y_train (x_test and y_test may be there too); rename them"
        )
    parts = [_checked_part(path, arrays["x_train"], arrays["y_train"])]
    if {"x_test", "y_test"} <= arrays.keys():
        parts.append(_checked_part(path, arrays["x_test"], arrays["y_test"]))
    return parts


def _find_npz(folder: Path) -> Path | None:
    """Return mnist.npz, else the only .npz file of the folder."""
    if (folder / "mnist.npz").is_file():
        return folder / "mnist.npz"
    found = sorted(folder.glob("*.npz"))
    return found[0] if len(found) == 1 else None


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file."""
    try:
        # A pickle would run code, and the file is anybody's.
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except Exception as error:  # zip, its compressions and numpy raise a dozen kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path}: cannot be read ({reason:.200}), expected an .npz file of plain arrays; "
            "fetch it again"
        ) from None


def _checked_part(
    path: Path, images: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels, as integers, if they belong together and the labels are digits."""
    if labels.ndim != 1 or images.ndim < 2 or len(images) != len(labels) or not len(labels):
        raise DataError(
            f"{path}: images have shape {images.shape} and labels {labels.shape}, expected as "
            "many labels as images; fetch both files again"
        )
    if images.dtype.kind not in "buif" or not images.size or not np.isfinite(images).all():
        what = f"of type {images.dtype} and shape {images.shape}"
        raise DataError(
            f"{path}: images are {what}, expected finite numbers, one a pixel; fetch them again"
        )
    digits = _as_digits(labels)
    if digits is None:
        raise DataError(
            f"{path}: labels {_described(labels)}, expected digits 0 to 9; fetch the labels again"
        )
    return images, digits


def _as_digits(labels: np.ndarray) -> NDArray[np.int64] | None:
    """Return labels as digits, those of text too; None if one is none."""
    if labels.dtype.kind not in "buifSU":
        return None
    try:
        digits = labels.astype(np.float64 if labels.dtype.kind == "f" else np.int64)
    except (ValueError, OverflowError):  # text
        return None
    return digits.astype(np.int64) if np.isin(digits, range(10)).all() else None


def _described(labels: np.ndarray) -> str:
    """Return what labels are, in a few words."""
    if labels.dtype.kind in "buif":
        return f"run from {labels.min()} to {labels.max()}"
    some = [f"{label!r:.20}" for label in labels[:3].tolist()]
    return f"are {', '.join(some)}{', ...' if len(labels) > 3 else ''}"
