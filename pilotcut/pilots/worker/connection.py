"""Connection to a manager: the scheduler's address, a certificate and the manager's versions.

dask's scheduler runs anybody's code, so everything speaks TLS with a certificate made for
the run, and a connection without it is refused. All of it is in one file that only its
owner can read; whoever has the file may join.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pilotcut.errors import PilotError
from pilotcut.io.atomic import write_atomically
from pilotcut.pilots.worker import versions

if TYPE_CHECKING:
    from distributed.security import Security

#: The file's name in a run directory.
FILE_NAME = "connection.json"

#: How long a system may take to answer that somebody listens; it refuses at once.
_LISTENS_S = 3.0


@dataclass(frozen=True)
class Connection:
    """Address, certificate and versions: all that it takes to join.

    Parameters
    ----------
    address
        Where the scheduler listens, such as ``tls://10.0.0.1:40111``.
    certificate, key
        In PEM; every role shows the same certificate and trusts only it.
    versions
        The manager's, see `pilotcut.pilots.worker.versions`.
    returns_s
        How long a manager that does not answer any more is waited for: it is started again, and
        goes on. 0 for one that ends with its program.
    """

    address: str
    certificate: str = field(repr=False)
    key: str = field(repr=False)
    versions: dict[str, str]
    returns_s: float = 0.0

    @classmethod
    def fresh(cls) -> Connection:
        """Return a connection with a new certificate, to be given an address."""
        from distributed.security import Security  # where it is used, as in `scheduler`

        made = Security.temporary()
        return cls("", made.tls_ca_file, made.tls_client_key, versions.installed())

    def at(self, address: str) -> Connection:
        """Return the connection to a scheduler at `address`."""
        return replace(self, address=address)

    def security(self) -> Security:
        """Return dask's object for it, good for every role."""
        from distributed.security import Security

        roles = ("client", "scheduler", "worker")
        own = {f"tls_{role}_cert": self.certificate for role in roles}
        own |= {f"tls_{role}_key": self.key for role in roles}
        return Security(require_encryption=True, tls_ca_file=self.certificate, **own)

    def is_listened_at(self) -> bool:
        """Return whether somebody listens there; dask itself tries for long where nobody does."""
        url = urlsplit(self.address)
        try:
            with socket.create_connection((str(url.hostname), url.port or 0), _LISTENS_S):
                return True
        except OSError:
            return False

    def write(self, path: Path) -> None:
        """Write the file, readable by its owner alone, whole or not at all."""
        write_atomically(path, json.dumps(asdict(self)), permissions=0o600)

    @classmethod
    def read(cls, path: Path) -> Connection:
        """Return what a file says.

        Raises
        ------
        PilotError
            If it cannot be read, or is something else.
        """
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return cls(**data)
        except FileNotFoundError:
            raise PilotError(
                f"{path} does not exist, expected the connection file of a running manager; start "
                f"one with 'pilotcut pilots up', or name its file"
            ) from None
        except OSError as error:
            raise PilotError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, TypeError):
            raise PilotError(
                f"{path} is no connection file, expected the {FILE_NAME} of a running manager"
            ) from None
