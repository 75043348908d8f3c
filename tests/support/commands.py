"""Commands that tests start and that would go on for long."""

import subprocess


class Command(subprocess.Popen):
    """A process that is killed at the end of its `with`, so that a failed test leaves none."""

    def __exit__(self, *exception):
        """Kill it, if it has not ended, and wait for it."""
        self.kill()
        return super().__exit__(*exception)
