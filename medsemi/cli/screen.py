"""The console of rich, as the commands use it."""

from __future__ import annotations

from rich.console import Console


class Screen(Console):
    """Prints tables; a closed pipe is for `main`, where rich would end the process with 1."""

    def on_broken_pipe(self) -> None:
        """Pass the error on.

        Raises:
            BrokenPipeError: always.
        """
        raise BrokenPipeError
