"""The data sets arrive split, scaled and labelled, and every fault is one clear line."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest

from pilotcut.errors import DataError
from pilotcut.training.data import DATASETS, Dataset, load_dataset


def tiny_mnist(samples: int = 40, side: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Images of the digits 0 to 3, each a random picture around its own brightness."""
    rng = np.random.default_rng(5)
    labels = np.arange(samples, dtype=np.uint8) % 4
    noise = rng.integers(0, 60, (samples, side, side))
    return (noise + 45 * labels[:, None, None]).astype(np.uint8), labels


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


def write_idx(folder: Path, *, prefix: str = "train", packed: bool = False, dot: str = "-") -> None:
    for kind, array in zip(("images", "labels"), tiny_mnist(), strict=True):
        name = f"{prefix}-{kind}{dot}idx{array.ndim}-ubyte"
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))


def write_npz(folder: Path, name: str = "mnist.npz", **extra: np.ndarray) -> None:
    images, labels = tiny_mnist()
    np.savez(folder / name, x_train=images, y_train=labels, **extra)


def assert_sound(data: Dataset, qubits: int) -> None:
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert x.dtype == y.dtype == np.float64
        assert x.shape == (len(y), qubits)
        assert set(y) == {-1.0, 1.0}
        assert x.min() >= 0
        assert x.max() <= math.pi / 2 + 1e-12
    np.testing.assert_allclose(data.x_train.min(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(data.x_train.max(axis=0), math.pi / 2)


def fault(**arguments: object) -> str:
    """The one line with which loading fails."""
    with pytest.raises(DataError) as caught:
        load_dataset(**{"name": "iris", "qubits": 4, **arguments})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("qubits", [1, 2, 4])
@pytest.mark.parametrize("name", ["iris", "wine", "digits"])
def test_bundled_sets_have_one_scaled_feature_per_qubit(name: str, qubits: int) -> None:
    data = load_dataset(name, qubits)
    assert_sound(data, qubits)
    assert data.qubits == qubits


def test_iris_with_four_qubits_keeps_the_features_themselves() -> None:
    """Petal length, feature 2, grows from versicolor to virginica: no rotation, no sign flip."""
    data = load_dataset("iris", 4)
    means = [data.x_train[data.y_train == label].mean(axis=0) for label in (-1, 1)]
    assert data.class_names == ("versicolor", "virginica")
    assert (means[1] > means[0]).all()


def test_split_is_stratified_and_of_the_asked_size() -> None:
    data = load_dataset("iris", 4, test_fraction=0.3)
    assert (len(data.y_train), len(data.y_test)) == (70, 30)
    assert data.y_train.sum() == data.y_test.sum() == 0


def test_same_seed_same_split_and_other_seed_another() -> None:
    first, again, other = (load_dataset("wine", 3, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.x_train, again.x_train)
    np.testing.assert_array_equal(first.x_test, again.x_test)
    assert not np.array_equal(first.x_train, other.x_train)


def test_preparation_is_fitted_on_the_training_part_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wild test samples leave the training features as they were, and are clipped."""
    from pilotcut.training import data as module

    before = load_dataset("wine", 3)
    split = module._split

    def spoiled(features, labels, size, seed):
        x_train, x_test, y_train, y_test = split(features, labels, size, seed)
        return x_train, 1e3 * x_test, y_train, y_test

    monkeypatch.setattr(module, "_split", spoiled)
    after = load_dataset("wine", 3)
    np.testing.assert_array_equal(before.x_train, after.x_train)
    assert_sound(after, 3)


def test_digits_may_be_chosen() -> None:
    data = load_dataset("digits", 3, digits=(7, 4))
    assert data.class_names == ("7", "4")


def test_max_samples_limits_both_parts_together() -> None:
    data = load_dataset("digits", 2, max_samples=50)
    assert len(data.y_train) + len(data.y_test) == 50


def test_feature_max_sets_the_range() -> None:
    assert load_dataset("iris", 2, feature_max=1.0).x_train.max() == pytest.approx(1.0)


@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("packed", [False, True])
def test_mnist_reads_idx_plain_and_gzipped(tmp_path: Path, packed: bool, dot: str) -> None:
    write_idx(tmp_path, packed=packed, dot=dot)
    data = load_dataset("mnist", 3, data_dir=tmp_path, digits=(0, 3))
    assert_sound(data, 3)
    assert len(data.y_train) + len(data.y_test) == 20
    assert data.class_names == ("0", "3")


def test_mnist_adds_its_test_part_where_there_is_one(tmp_path: Path) -> None:
    write_idx(tmp_path)
    write_idx(tmp_path, prefix="t10k", packed=True)
    data = load_dataset("mnist", 3, data_dir=tmp_path)
    assert len(data.y_train) + len(data.y_test) == 40


def test_mnist_reads_npz_as_it_reads_idx(tmp_path: Path) -> None:
    folders = [tmp_path / kind for kind in ("idx", "npz", "both")]
    for folder in folders:
        folder.mkdir()
    write_idx(folders[0])
    write_npz(folders[1], "digits28.npz")
    images, labels = tiny_mnist()
    write_npz(folders[2], x_test=images, y_test=labels)
    from_idx, from_npz, both = (load_dataset("mnist", 3, data_dir=folder) for folder in folders)
    np.testing.assert_array_equal(from_idx.x_train, from_npz.x_train)
    assert len(both.y_train) == 2 * len(from_npz.y_train)


def test_unknown_name_suggests_the_near_one() -> None:
    message = fault(name="irsi")
    assert "did you mean 'iris'?" in message
    assert all(name in message for name in DATASETS)
    assert "did you mean" not in fault(name="cifar")


@pytest.mark.parametrize("qubits", [-1, 0, 5])
def test_qubits_out_of_range_names_the_range(qubits: int) -> None:
    message = fault(qubits=qubits)
    assert message.startswith(f"qubits: found {qubits}, expected 1 to 4")


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        ({"test_fraction": 0.0}, "test_fraction is 0.0"),
        ({"test_fraction": 1.5}, "test_fraction is 1.5"),
        ({"test_fraction": 0.001}, "test_fraction: found 0.001 of 100 samples"),
        ({"max_samples": 3}, "max_samples is 3"),
        ({"feature_max": math.nan}, "feature_max is nan"),
        ({"name": "digits", "digits": (3, 3)}, "digits: found (3, 3)"),
        ({"name": "digits", "digits": (3, 12)}, "digits: found (3, 12)"),
        ({"name": "digits", "digits": (1, 2, 3)}, "digits: found (1, 2, 3)"),
        ({"name": "digits", "qubits": 30, "max_samples": 20}, "qubits: found 30"),
    ],
)
def test_senseless_arguments_are_named(arguments: dict[str, object], start: str) -> None:
    assert fault(**arguments).startswith(start)


def test_all_senseless_numbers_are_told_at_once() -> None:
    with pytest.raises(DataError) as caught:
        load_dataset("iris", 4, test_fraction=2, max_samples=1)
    assert len(caught.value.faults) == 2


def test_missing_mnist_names_the_expected_files(tmp_path: Path) -> None:
    for arguments in ({}, {"data_dir": tmp_path}, {"data_dir": tmp_path / "none"}):
        message = fault(name="mnist", **arguments)
        assert message.startswith("data_dir: ")
        assert "train-images-idx3-ubyte" in message
        assert "mnist.npz" in message


def test_half_an_mnist_names_the_other_half(tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert "train-labels-idx1-ubyte" in fault(name="mnist", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("train-images-idx3-ubyte", b"<html>", "expected 0x00000803"),
        ("train-images-idx3-ubyte", b"", "expected 0x00000803"),
        ("train-images-idx3-ubyte", idx(tiny_mnist()[0])[:-1], "expected 640 for shape"),
        ("train-labels-idx1-ubyte", idx(tiny_mnist()[1][:-1]), "as many labels as images"),
        ("train-labels-idx1-ubyte", idx(tiny_mnist()[1] + 9), "expected digits 0 to 9"),
    ],
)
def test_damaged_idx_is_named(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    write_idx(tmp_path)
    (tmp_path / name).write_bytes(content)
    message = fault(name="mnist", data_dir=tmp_path)
    assert str(tmp_path) in message
    assert expected in message


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path, packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    for content in (b"no gzip", path.read_bytes()[:-20]):
        path.write_bytes(content)
        assert fault(name="mnist", data_dir=tmp_path).startswith(f"{path}: cannot be read")


def test_damaged_npz_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mnist.npz"
    path.write_bytes(b"PK\x03\x04 and no more")
    assert fault(name="mnist", data_dir=tmp_path).startswith(f"{path}: cannot be read")
    np.savez(path, images=np.zeros(3))
    assert "holds images, expected arrays x_train and y_train" in fault(
        name="mnist", data_dir=tmp_path
    )


def test_a_digit_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path)
    message = fault(name="mnist", data_dir=tmp_path, digits=(0, 9))
    assert message.startswith("digits: found 0 samples of class '9'")


@pytest.mark.parametrize(("name", "classes"), [("iris", 3), ("wine", 3), ("digits", 4)])
def test_more_classes_are_indices(name: str, classes: int) -> None:
    data = load_dataset(name, 4, classes=classes)
    for y in (data.y_train, data.y_test):
        assert y.dtype == np.int64
        assert set(y.tolist()) == set(range(classes))
    assert len(data.class_names) == classes
    assert len(data.x_train) == len(data.y_train)


def test_chosen_digits_are_numbered_in_their_order() -> None:
    """The same samples, under another number."""
    ordered = load_dataset("digits", 4, classes=3, digits=(1, 5, 8), max_samples=None)
    turned = load_dataset("digits", 4, classes=3, digits=(8, 1, 5), max_samples=None)
    assert turned.class_names == ("8", "1", "5")
    both = [np.concatenate([data.y_train, data.y_test]) for data in (ordered, turned)]
    np.testing.assert_array_equal(np.bincount(both[0])[[2, 0, 1]], np.bincount(both[1]))


def test_validation_is_stratified_and_taken_from_the_training_samples() -> None:
    without, data = load_dataset("iris", 4), load_dataset("iris", 4, validation=0.25)
    assert (len(data.y_train), len(data.y_val), len(data.y_test)) == (60, 20, 20)
    assert data.y_train.sum() == data.y_val.sum() == 0
    assert (without.x_val.shape, without.y_val.shape) == ((0, 4), (0,))
    np.testing.assert_array_equal(without.y_test, data.y_test)


def test_validation_samples_leave_the_preparation_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wild validation samples change no training feature, and are clipped like test samples."""
    from pilotcut.training import data as module

    before = load_dataset("wine", 3, validation=0.25)
    split = module._split

    def spoiled(features, labels, size, seed, option="test_fraction"):
        x, held_out, *ys = split(features, labels, size, seed, option)
        return x, 1e3 * held_out if option == "validation" else held_out, *ys

    monkeypatch.setattr(module, "_split", spoiled)
    after = load_dataset("wine", 3, validation=0.25)
    np.testing.assert_array_equal(before.x_train, after.x_train)
    np.testing.assert_array_equal(before.x_test, after.x_test)
    assert not np.array_equal(before.x_val, after.x_val)
    assert after.x_val.max() <= math.pi / 2 + 1e-12


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        ({"classes": 4}, "classes: found 4, expected 2 to 3, the classes of 'iris'"),
        ({"classes": 1}, "classes: found 1, expected 2 to 3"),
        ({"name": "digits", "classes": 11}, "classes: found 11, expected 2 to 10"),
        ({"name": "digits", "classes": 3, "digits": (0, 1)}, "digits: found (0, 1), expected 3"),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"validation": math.nan}, "validation is nan"),
        ({"validation": 0.001}, "validation: found 0.001 of 80 samples"),
    ],
)
def test_senseless_classes_and_validation_are_named(
    arguments: dict[str, object], start: str
) -> None:
    assert fault(**arguments).startswith(start)


TINY_IMAGES, TINY_LABELS = tiny_mnist()


@pytest.mark.parametrize(
    "labels",
    [
        TINY_LABELS.astype(str),
        TINY_LABELS.astype("S3"),
        TINY_LABELS.astype(np.float32),
        TINY_LABELS.astype(np.int8),
        TINY_LABELS.astype(np.uint64),
    ],
    ids=lambda labels: str(labels.dtype),
)
def test_digits_of_any_type_are_digits(tmp_path: Path, labels: np.ndarray) -> None:
    """As OpenML writes them, too: its labels are text."""
    np.savez(tmp_path / "mnist.npz", x_train=TINY_IMAGES, y_train=labels)
    found = load_dataset("mnist", 4, data_dir=tmp_path)
    (tmp_path / "idx").mkdir()
    write_idx(tmp_path / "idx")
    np.testing.assert_array_equal(
        found.y_train, load_dataset("mnist", 4, data_dir=tmp_path / "idx").y_train
    )


def test_truth_values_are_the_digits_0_and_1(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist.npz", x_train=TINY_IMAGES, y_train=TINY_LABELS == 1)
    assert load_dataset("mnist", 4, data_dir=tmp_path).class_names == ("0", "1")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (lambda y: np.array([f"class {k}" for k in y]), "labels are 'class 0', 'class 1'"),
        (lambda y: np.array([f"class {k}\n" * 50 for k in y]), "labels are 'class 0"),
        (lambda y: np.array([b"cat"] * len(y)), "labels are b'cat', b'cat', b'cat', ..."),
        (lambda y: y + 0.5, "labels run from 0.5 to 3.5"),
        (lambda y: np.where(y == 0, np.nan, y), "labels run from nan to nan"),
        (lambda y: -y.astype(int) - 1, "labels run from -4 to -1"),
        (lambda y: y + 0j, "labels are 0j, (1+0j)"),
        (lambda y: y.astype("datetime64[D]"), "labels are datetime.date(1970"),
        (lambda y: np.zeros(len(y), [("a", int)]), "labels are (0,), (0,), (0,), ..."),
        (lambda y: y.astype(object), "cannot be read (Object arrays"),
        (lambda y: np.eye(10)[y], "as many labels as images"),
        (lambda y: y[0], "as many labels as images"),
        (lambda y: y[:0], "as many labels as images"),
    ],
)
def test_labels_that_are_no_digits_are_one_line(tmp_path: Path, kind, said: str) -> None:
    np.savez(tmp_path / "mnist.npz", x_train=TINY_IMAGES, y_train=kind(TINY_LABELS))
    message = fault(name="mnist", data_dir=tmp_path)
    assert said in message
    assert len(message) < len(str(tmp_path)) + 250


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (TINY_IMAGES.astype(str), "images are of type <U3"),
        (TINY_IMAGES + 0j, "images are of type complex128"),
        (np.where(TINY_IMAGES[0, 0, 0] == TINY_IMAGES, np.nan, 1.0), "expected finite numbers"),
        (TINY_IMAGES[:, :0], "expected finite numbers, one a pixel"),
        (TINY_IMAGES[:, 0, 0], "as many labels as images"),
        (TINY_IMAGES[:-1], "as many labels as images"),
        (np.array(3.0), "as many labels as images"),
    ],
)
def test_images_that_are_none_are_one_line(tmp_path: Path, images: np.ndarray, said: str) -> None:
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=TINY_LABELS)
    assert said in fault(name="mnist", data_dir=tmp_path)


def test_images_of_more_axes_and_of_truth_values_are_pixels(tmp_path: Path) -> None:
    for images in (TINY_IMAGES[..., None], TINY_IMAGES.reshape(len(TINY_IMAGES), -1)):
        np.savez(tmp_path / "mnist.npz", x_train=images, y_train=TINY_LABELS)
        np.testing.assert_array_equal(
            load_dataset("mnist", 4, data_dir=tmp_path).x_train,
            load_dataset("mnist", 4, data_dir=tmp_path).x_train,
        )
    np.savez(tmp_path / "mnist.npz", x_train=TINY_IMAGES > 100, y_train=TINY_LABELS)
    assert load_dataset("mnist", 4, data_dir=tmp_path).x_train.shape[1] == 4


def test_parts_of_other_sizes_are_one_line(tmp_path: Path) -> None:
    other = {"x_test": TINY_IMAGES[:, 1:], "y_test": TINY_LABELS}
    np.savez(tmp_path / "mnist.npz", x_train=TINY_IMAGES, y_train=TINY_LABELS, **other)
    assert "have 16 pixels, those for testing 12" in fault(name="mnist", data_dir=tmp_path)
