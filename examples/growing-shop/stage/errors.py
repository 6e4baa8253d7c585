"""What can go wrong on stage: a sentence, and the command that helps."""

from __future__ import annotations


class StageError(Exception):
    """Something is missing or has ended; ``hint`` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
