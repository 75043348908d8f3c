"""Options of sbatch: what of a description may stand on an `#SBATCH` line.

sbatch reads these lines by rules of its own: quotes and backslashes that are not quite the
shell's, abbreviated options (``--part`` is ``--partition``), letters in a row (``-HN2`` is
``-H -N 2``). So nothing is left to be quoted: values are held to the characters of Slurm's own
names, and a directive to one option that contradicts no field. This module refuses to know
how a job script is made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: What `is_name`, `is_constraint` and `parse_directive` want, in the words of the messages.
NAME = "a name of Slurm's: letters, digits and _ . , @ + / -, a letter, digit or _ first"
CONSTRAINT = "features of Slurm's: letters, digits and _ . , : = + / % @ - & | * ! [ ] ( )"
DIRECTIVE = "one option of sbatch such as '--exclusive' or '-w node1', without quotes or spaces"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,@+/-]*")
_CONSTRAINT = re.compile(r"[A-Za-z0-9_!\[(][A-Za-z0-9_.,:=+/%@&|*!\[\]()-]*")
_VALUE = r"[A-Za-z0-9_.,:=+/%@&|*?!\[\]()-]+"
_DIRECTIVE = re.compile(
    rf"(?:#SBATCH[ \t]+)?"
    rf"(?:--(?P<word>[A-Za-z][A-Za-z0-9-]*)(?:=(?P<given>{_VALUE})|[ ]+(?P<apart>(?!-){_VALUE}))?"
    rf"|-(?P<letter>[A-Za-z])(?:(?P<attached>{_VALUE})|[ ]+(?P<spaced>(?!-){_VALUE}))?)"
)
#: Letters that take a value; after any other, more letters would be more options.
_WITH_VALUE = frozenset("aAbBcCdDeFGiJLmMnNopqStwx")
_LETTERS = {
    "A": "account", "C": "constraint", "G": "gpus", "J": "job-name", "M": "clusters",
    "N": "nodes", "Q": "quiet", "V": "version", "W": "wait", "a": "array",
    "c": "cpus-per-task", "e": "error", "h": "help", "n": "ntasks", "o": "output",
    "p": "partition", "q": "qos", "t": "time",
}  # fmt: skip

#: The field whose value such an option would contradict.
_FIELDS = {
    "account": "account",
    "array": "count",
    "constraint": "constraint",
    "cpus-per-gpu": "cores_per_node",
    "cpus-per-task": "cores_per_node",
    "gpus": "gpus_per_node",
    "gpus-per-node": "gpus_per_node",
    "gpus-per-socket": "gpus_per_node",
    "gpus-per-task": "gpus_per_node",
    "gres": "gpus_per_node",
    "job-name": "name",
    "mem": "memory_per_node",
    "mem-per-cpu": "memory_per_node",
    "mem-per-gpu": "memory_per_node",
    "mincpus": "cores_per_node",
    "nodes": "nodes",
    "ntasks": "workers_per_node",
    "ntasks-per-core": "workers_per_node",
    "ntasks-per-gpu": "workers_per_node",
    "ntasks-per-node": "workers_per_node",
    "ntasks-per-socket": "workers_per_node",
    "partition": "queue",
    "qos": "qos",
    "requeue": "replace",
    "reservation": "reservation",
    "tasks-per-node": "workers_per_node",
    "time": "walltime",
}
#: Why such an option would get in the way.
_OURS = {
    "clusters": "jobs are looked after on the cluster that sbatch submits to by itself",
    "error": "the log goes to the run directory",
    "help": "it submits nothing",
    "output": "the log goes to the run directory",
    "parsable": "the answer of sbatch is read as it is",
    "quiet": "the answer of sbatch is read as it is",
    "test-only": "it submits nothing",
    "usage": "it submits nothing",
    "version": "it submits nothing",
    "wait": "sbatch must not wait for the job's end",
    "wrap": "the job's command is the pilot's",
}


@dataclass(frozen=True)
class Directive:
    """One option of sbatch.

    Attributes
    ----------
    option
        Its name, also of a letter that stands for one of ours; other letters as they are, ``-w``.
    value
        Its value, None where there is none.
    text
        How it is written after ``#SBATCH``.
    """

    option: str
    value: str | None
    text: str


def is_name(value: str) -> bool:
    """Return whether `value` may name a partition, an account, a qos or a reservation."""
    return _NAME.fullmatch(value) is not None


def is_constraint(value: str) -> bool:
    """Return whether `value` may be a combination of node features.

    Examples
    --------
    >>> is_constraint("[rack1*2&rack2*4]"), is_constraint("cpu; reboot")
    (True, False)
    """
    return _CONSTRAINT.fullmatch(value) is not None


def parse_directive(text: str) -> Directive:
    """Return the option that a line holds, with or without ``#SBATCH`` before it.

    Raises
    ------
    ValueError
        With what is expected instead.

    Examples
    --------
    >>> parse_directive("#SBATCH --constraint=gpu&hbm80g")
    Directive(option='constraint', value='gpu&hbm80g', text='--constraint=gpu&hbm80g')
    """
    match = _DIRECTIVE.fullmatch(text.strip())
    if match is None:
        raise ValueError(DIRECTIVE)
    value = next((match[g] for g in ("given", "apart", "attached", "spaced") if match[g]), None)
    if match["word"]:
        written = f"--{match['word']}" + (f"={value}" if value else "")
        return Directive(match["word"], value, written)
    letter = match["letter"]
    if value and letter not in _WITH_VALUE:
        raise ValueError(f"{DIRECTIVE}; -{letter} takes no value")
    if value and value.startswith("-"):  # written apart from its letter it would be an option
        raise ValueError(f"{DIRECTIVE}; the value of -{letter} begins with a dash")
    written = f"-{letter}" + (f" {value}" if value else "")
    return Directive(_LETTERS.get(letter, f"-{letter}"), value, written)


def check_directive(text: str, gpus_per_node: int | None) -> str:
    """Return how a directive is written after ``#SBATCH``, if it contradicts no field.

    Parameters
    ----------
    text
        What the description says.
    gpus_per_node
        Its number of GPUs, None if it is not known.

    Raises
    ------
    ValueError
        With what is expected instead.

    Examples
    --------
    >>> check_directive("#SBATCH --gres=gpu:a100:4", gpus_per_node=4)
    '--gres=gpu:a100:4'
    """
    directive = parse_directive(text)
    if directive.option == "gres":
        _check_gres(directive.value or "", gpus_per_node)
        return directive.text
    written = re.split("[= ]", directive.text)[0]
    # sbatch takes the beginning of a name for the name.
    for name, field in _FIELDS.items():
        if name.startswith(directive.option):
            raise ValueError(f"no {written} here; use the field {field} instead")
    for name, reason in _OURS.items():
        if name.startswith(directive.option):
            raise ValueError(f"no {written} here: {reason}")
    return directive.text


def _check_gres(value: str, gpus_per_node: int | None) -> None:
    """Allow ``--gres`` as the way to ask for a type: it replaces the one made of the fields."""
    gpus = 0
    for kind, *rest in (item.split(":") for item in value.split(",")):
        if kind in ("gpu", "gres/gpu"):
            gpus += int(rest[-1]) if rest and rest[-1].isdecimal() else 1
    if gpus_per_node is not None and gpus != gpus_per_node:
        raise ValueError(f"{gpus_per_node} GPUs in it, the number in the field gpus_per_node")
