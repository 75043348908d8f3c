"""What runs meanwhile. Workers import this module: it must be quick to import."""

import time
from collections import Counter

#: Kills are no fault of the tasks here, and there are more of them than anywhere else.
RETRIES = 100


def work(diary, number, nap_s, *before):
    """Write down that the task ran, and return what depends on it and those before it."""
    with open(diary, "ab", buffering=0) as file:  # one write: lines of two workers never mix
        file.write(f"{number}\n".encode())
    if nap_s:
        time.sleep(nap_s)
    if number % 50 == 49:
        raise ArithmeticError(number)
    return number**2 + sum(before)


class Workload:
    """Tasks of several lengths, some of which depend on others, and some that fail."""

    def __init__(self, count, rng, diary):
        self.futures, self.right = [], []
        self.called_back = Counter()
        self.count, self._rng, self.diary = count, rng, diary

    def submit_over(self, tasks, seconds):
        """Submit in bursts that end with the storm."""
        bursts = max(1, round(2 * seconds))
        for burst in range(bursts):
            while len(self.futures) < self.count * (burst + 1) // bursts:
                self._submit(tasks)
            time.sleep(seconds / bursts)

    def _submit(self, tasks):
        number = len(self.futures)
        before = self._predecessors(number)
        nap_s = self._rng.choice([0.0, 0.0, 0.01, 0.03, 0.1])  # without a nap: in parcels
        earlier = [self.futures[k] for k in before]
        future = tasks.submit_task(
            work, str(self.diary), number, nap_s, *earlier, name=str(number), retries=RETRIES
        )
        future.add_done_callback(lambda _: self.called_back.update([number]))
        self.futures.append(future)
        self.right.append(number**2 + sum(self.right[k] for k in before))

    def _predecessors(self, number):
        if self._rng.random() < 0.9:
            return []
        return [k for k in range(max(0, number - 3), number) if k % 50 != 49]

    def fault(self, number):
        """Return what is wrong with the end of a task, which has ended."""
        error = self.futures[number].exception(0)
        if number % 50 == 49:
            return None if isinstance(error, ArithmeticError) else f"{number}: {error!r}"
        if error is not None:
            return f"{number}: {error!r}"
        value = self.futures[number].result(0)
        return None if value == self.right[number] else f"{number}: {value}"
