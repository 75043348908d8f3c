"""Data sets for quantum classifiers: one row per sample, one feature per qubit.

Owns which data sets there are (scikit-learn's copies, and MNIST from local files, which
`pilotcut.training.mnist` reads), the split, and the preparation: standardise and project to the
qubit count where there are more features than qubits, then scale into the range of an encoding
angle, all fitted on the training part alone.
Knows nothing of circuits and never touches the network.

Iris with two classes is versicolor against virginica. Setosa against either is separable by one
threshold on one petal length, so every model reaches 100 % there and a comparison of cut with
uncut says nothing; versicolor and virginica overlap, and a linear classifier stays near 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from pilotcut.errors import DataError
from pilotcut.options import (
    check_seed,
    counted,
    did_you_mean,
)
from pilotcut.training import checks
from pilotcut.training.feature_file import FEATURES, read_features
from pilotcut.training.mnist import read_mnist

Floats = NDArray[np.float64]
Labels = NDArray[Any]

FEATURE_MAX = math.pi / 2
"""Largest encoded feature: Qiskit's feature maps encode x as a phase 2·x, which has period π in
x, so over [0, π] the smallest and the largest value of a feature become the same state. Measured
on Iris, uncut and without shots, mean test accuracy of 8 seeds after 20 epochs: 97 % with π/2,
64 % with π."""


_CHECKS: dict[str, checks.Check] = {
    "validation": checks.Number(0.0, checks.BELOW_ONE, "a share from 0 and below 1; try 0.2"),
    "test_fraction": checks.Number(
        checks.ABOVE_ZERO, checks.BELOW_ONE, "a share between 0 and 1; try 0.2"
    ),
    "max_samples": checks.Whole(10, None, "leave it out to keep 1000"),
    "feature_max": checks.Number(checks.ABOVE_ZERO, checks.FINITE, "radians above 0; try pi/2"),
}


@dataclass(frozen=True)
class Dataset:
    """Classification task, split and ready to be encoded.

    Attributes
    ----------
    name
        Name by which it was loaded.
    x_train, x_val, x_test
        Features in [0, `feature_max`], shape (samples, qubits); without validation no x_val.
    y_train, y_val, y_test
        Shape (samples,): of two classes labels -1.0 or +1.0, of more their indices, as integers.
    class_names
        What the labels stand for, in order.
    """

    name: str
    x_train: Floats
    y_train: Labels
    x_test: Floats
    y_test: Labels
    class_names: tuple[str, ...]
    x_val: Floats
    y_val: Labels

    @property
    def qubits(self) -> int:
        """Number of features of a sample, one per qubit."""
        return int(self.x_train.shape[1])


@dataclass(frozen=True)
class _Samples:
    """Samples of all classes as they were found, before selection and preparation."""

    features: Floats
    classes: NDArray[np.int64]
    class_names: Sequence[str]


@dataclass(frozen=True)
class _Source:
    """Origin of a data set, and which of its classes are taken where so many are wanted.

    With `chosen` None the user chooses among ten digits.
    """

    load: Callable[[str | Path | None], _Samples]
    chosen: dict[int, tuple[int, ...]] | None
    standardise: bool


def load_dataset(
    name: str,
    qubits: int,
    *,
    classes: int = 2,
    data_dir: str | Path | None = None,
    seed: int = 0,
    test_fraction: float = 0.2,
    validation: float = 0.0,
    digits: Sequence[int] | None = None,
    max_samples: int | None = 1000,
    feature_max: float = FEATURE_MAX,
) -> Dataset:
    """Return a data set with one feature per qubit, split into train, validation and test.

    Parameters
    ----------
    name
        ``"iris"`` (versicolor, virginica), ``"wine"`` (first two cultivars), ``"digits"``
        (scikit-learn's 8×8 images), ``"mnist"`` (from local files), or the path of a file
        ``*.npz`` with arrays ``features`` (samples, features) and ``labels`` of two classes.
    qubits
        Features to keep. With fewer than the data has, the leading principal components (of the
        standardised features, for Iris and wine); with just as many, the features themselves.
    classes
        2 or 3 of Iris and wine, 2 to 10 digits.
    data_dir
        Folder of the MNIST files: the IDX files of the original distribution, plain or ``.gz``,
        or ``mnist.npz`` with arrays ``x_train`` and ``y_train``. Their own test part, where
        there is one, is added to the rest before the split.
    seed
        Decides the split, and the choice of samples under `max_samples`.
    test_fraction
        Share of the samples held out for testing, stratified by class.
    validation
        Share of the training samples held out to watch the training, stratified by class; 0
        holds out none.
    digits
        Those that stand for -1 and +1, or for class 0, 1, …, in ``digits`` and ``mnist``; None
        are the first ones.
    max_samples
        Upper limit of samples before the split, drawn in proportion to the classes; None keeps
        all. The default bites on ``mnist`` alone, which has some 14,000 samples of two digits.
    feature_max
        Features are scaled to [0, `feature_max`], in radians; test samples beyond the range of
        the training samples are clipped.

    Returns
    -------
    Dataset
        Float64 arrays, the same for the same arguments.

    Raises
    ------
    DataError
        For an unknown name, an impossible argument, or files missing or unreadable.

    Examples
    --------
    >>> iris = load_dataset("iris", 4)
    >>> iris.x_train.shape, iris.x_test.shape, iris.class_names
    ((80, 4), (20, 4), ('versicolor', 'virginica'))
    """
    source = _source(name)
    numbers = (validation, test_fraction, max_samples, feature_max)
    if faults := checks.faults_of(dict(zip(_CHECKS, numbers, strict=True)), _CHECKS):
        raise DataError(faults)
    check_seed(seed, 2**32 - 1)  # scikit-learn's most
    chosen = _chosen(name, source, classes, digits)
    features, labels, class_names = _of_classes(source.load(data_dir), chosen)
    _check_qubits(name, qubits, features.shape[1])
    if max_samples is not None and max_samples < len(labels):
        features, _, labels, _ = _split(features, labels, len(labels) - max_samples, seed)
    x_train, x_test, y_train, y_test = _split(features, labels, test_fraction, seed)
    x_val, y_val = x_train[:0], y_train[:0]
    if validation:
        x_train, x_val, y_train, y_val = _split(x_train, y_train, validation, seed, "validation")
    prepare = _preparation(x_train, qubits, source.standardise, feature_max)
    return Dataset(
        name=name,
        x_val=prepare.transform(x_val) if len(x_val) else np.empty((0, qubits)),
        y_val=y_val,
        x_train=prepare.transform(x_train),
        y_train=y_train,
        x_test=prepare.transform(x_test),
        y_test=y_test,
        class_names=class_names,
    )


def _source(name: str) -> _Source:
    """Return the source of that name, or say which name may have been meant."""
    if name in _SOURCES:
        return _SOURCES[name]
    if name.endswith(FEATURES):
        return _Source(_load_features(name), {2: (0, 1)}, standardise=True)
    raise DataError(
        f"dataset: unknown '{name}', expected one of {', '.join(_SOURCES)}"
        f"{did_you_mean(name, _SOURCES)}"
    )


def _chosen(
    name: str, source: _Source, classes: int, digits: Sequence[int] | None
) -> tuple[int, ...]:
    """Return which classes of the source are taken."""
    most = 10 if source.chosen is None else max(source.chosen)
    if classes not in range(2, most + 1):
        raise DataError(
            f"classes: found {classes}, expected 2 to {most}, the classes of '{name}'; choose at "
            f"most {most} or another data set"
        )
    if source.chosen is not None:
        return source.chosen[classes]
    return _checked_digits(tuple(range(classes) if digits is None else digits), classes)


def _checked_digits(digits: tuple[int, ...], classes: int) -> tuple[int, ...]:
    """Return digits if they are so many different ones."""
    if len(digits) == classes == len(set(digits)) and set(digits) <= set(range(10)):
        return digits
    raise DataError(
        f"digits: found {digits}, expected {classes} different digits of 0 to 9; try "
        f"{tuple(range(classes))}"
    )


def _check_qubits(name: str, qubits: int, available: int) -> None:
    """Raise unless there is a feature for every qubit."""
    if not 1 <= qubits <= available:
        raise DataError(
            f"qubits: found {qubits}, expected 1 to {available}, the features of '{name}' "
            f"(one per qubit); choose at most {available} or another data set"
        )


def _of_classes(
    samples: _Samples, chosen: tuple[int, ...]
) -> tuple[Floats, Labels, tuple[str, ...]]:
    """Return features, labels and class names: -1 and +1 for two classes, else their indices."""
    taken = np.isin(samples.classes, chosen)
    place = {number: k for k, number in enumerate(chosen)}
    labels: Labels = np.array([place[number] for number in samples.classes[taken]], dtype=np.int64)
    names = tuple(str(samples.class_names[number]) for number in chosen)
    for name, count in zip(names, np.bincount(labels, minlength=len(names)), strict=True):
        if count < 2:
            raise DataError(
                f"digits: found {counted(count, 'sample')} of class '{name}', expected at least 2; "
                "choose other classes or more data"
            )
    if len(chosen) == 2:
        labels = 2.0 * labels - 1.0
    return samples.features[taken], labels, names


def _split(
    features: Floats,
    labels: Labels,
    test_size: float | int,
    seed: int,
    option: str = "test_fraction",
) -> tuple[Floats, Floats, Labels, Labels]:
    """Return a stratified split, of a share (float) or a number (int) of samples."""
    try:
        x_train, x_test, y_train, y_test = train_test_split(
            features, labels, test_size=test_size, stratify=labels, random_state=seed
        )
    except ValueError as error:
        raise DataError(
            f"{option}: found {test_size} of {counted(len(labels), 'sample')}, expected enough for "
            f"every class on both sides ({error}); try 0.2"
        ) from None
    return x_train, x_test, y_train, y_test


def _preparation(x_train: Floats, qubits: int, standardise: bool, feature_max: float) -> Pipeline:
    """Return the fitted steps from raw features to encoding angles."""
    steps = [MinMaxScaler((0.0, feature_max), clip=True)]
    if qubits < x_train.shape[1]:
        if qubits > len(x_train):
            raise DataError(
                f"qubits: found {qubits}, expected at most {len(x_train)}, the training samples "
                "(a principal component needs one each); raise max_samples"
            )
        # An exact solver, so that the same data gives the same components on every run.
        steps.insert(0, PCA(qubits, svd_solver="covariance_eigh"))
        if standardise:
            steps.insert(0, StandardScaler())
    return make_pipeline(*steps).fit(x_train)


def _from_sklearn(load: Callable[[], object]) -> Callable[[str | Path | None], _Samples]:
    """Return a source that reads one of scikit-learn's bundled data sets."""

    def samples(data_dir: str | Path | None) -> _Samples:
        bunch = load()
        return _Samples(
            features=np.asarray(bunch.data, dtype=np.float64),  # type: ignore[attr-defined]
            classes=np.asarray(bunch.target, dtype=np.int64),  # type: ignore[attr-defined]
            class_names=[str(name) for name in bunch.target_names],  # type: ignore[attr-defined]
        )

    return samples


def _load_mnist(data_dir: str | Path | None) -> _Samples:
    images, classes = read_mnist(data_dir)
    return _Samples(images.astype(np.float64) / 255.0, classes, [str(digit) for digit in range(10)])


def _load_features(path: str) -> Callable[[str | Path | None], _Samples]:
    """Return a source that reads a file of features."""
    return lambda data_dir: _Samples(*read_features(path))


_SOURCES = {
    "iris": _Source(_from_sklearn(load_iris), {2: (1, 2), 3: (0, 1, 2)}, standardise=True),
    "wine": _Source(_from_sklearn(load_wine), {2: (0, 1), 3: (0, 1, 2)}, standardise=True),
    "digits": _Source(_from_sklearn(load_digits), None, standardise=False),
    "mnist": _Source(_load_mnist, None, standardise=False),
}

DATASETS = tuple(_SOURCES)
"""The names that `load_dataset` knows."""
