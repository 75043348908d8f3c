"""Calls with big arguments: in memory that both sides see, or carried."""

import os

import numpy as np
import pytest

from pilotcut.pilots.worker.payload import Call, run_blob
from pilotcut.pilots.worker.stored_calls import (
    LARGE_BYTES,
    Place,
    Secret,
    StoredCall,
    answer_to,
    from_payload,
    pack_or_store,
    to_parts,
)


def doubled(array, number):
    array *= 2  # its own, not the submitter's
    return array.sum() + number


def outcome_of(stored, is_near):
    payload = bytearray().join(to_parts([stored.for_worker(is_near), b"another"]))
    call, other = from_payload(payload)
    assert other == b"another"
    outcome = run_blob(call, "w")
    assert outcome.error is None, outcome.traceback
    return outcome.value


@pytest.mark.parametrize("is_near", [True, False])
def test_big_arguments_arrive_as_they_were_and_are_the_task_s_own(is_near):
    array = np.arange(LARGE_BYTES, dtype=float)
    stored = pack_or_store(Call(doubled, (array,), {"number": 3}))
    assert isinstance(stored, StoredCall)
    before = array.copy()
    array[:] = 0.0  # what is changed after the launch reaches no task
    for _ in range(2):
        assert outcome_of(stored, is_near) == 2 * before.sum() + 3


def test_big_values_that_are_no_arrays_are_stored_too():
    stored = pack_or_store(Call(len, (b"x" * (2 * LARGE_BYTES),)))
    assert isinstance(stored, StoredCall)
    assert outcome_of(stored, is_near=True) == 2 * LARGE_BYTES


def test_small_calls_are_bytes():
    packed = pack_or_store(Call(sum, (np.ones(10),)))
    assert isinstance(packed, bytes)
    assert run_blob(packed, "w").value == 10


def test_without_a_descriptor_left_big_arguments_travel_with_the_call(monkeypatch):
    def refuse(_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    packed = pack_or_store(Call(np.sum, (np.ones(LARGE_BYTES),)))
    assert isinstance(packed, bytes)
    assert run_blob(packed, "w").value == LARGE_BYTES


def test_what_stands_at_its_number_on_another_machine_is_not_opened():
    """It may be a pipe, which would wait for its other end."""
    read, write = os.pipe()
    os.close(write)
    try:
        with pytest.raises(OSError, match="has gone"):
            Place(os.getpid(), read, 1).open()
    finally:
        os.close(read)


def test_memory_goes_with_its_call_and_what_takes_its_number_is_not_taken_for_it():
    array = np.ones(LARGE_BYTES)
    stored = pack_or_store(Call(np.sum, (array,)))
    mapped = stored.for_worker(is_near=True)
    del stored
    other = pack_or_store(Call(np.sum, (array,)))
    assert other.for_worker(is_near=True).place.descriptor == mapped.place.descriptor
    assert isinstance(run_blob(mapped, "w").error, OSError)


def test_a_secret_is_known_to_who_can_read_it_alone():
    secret = Secret()
    assert secret.is_answered_by(answer_to(secret.question))
    assert not Secret().is_answered_by(answer_to(secret.question))
    gone = Secret().question
    assert not secret.is_answered_by(answer_to(gone))
