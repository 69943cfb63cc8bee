"""How a command ends when it does not end well: a sentence for stderr, and the exit code scripts go by."""

from __future__ import annotations

THE_ANSWER_IS_NO = 1  # a bad file, a refused reload, an order that was not carried out in time
USAGE = 2  # the command line itself; typer's own code for it
NOT_REACHABLE = 3  # no running lb


class Failure(Exception):
    """Raised by a command; `main` prints the text and exits with the code. Never a traceback."""

    def __init__(self, text: str, exit_code: int = THE_ANSWER_IS_NO) -> None:
        super().__init__(text)
        self.exit_code = exit_code
