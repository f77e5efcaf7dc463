"""What can go wrong, as values a caller can tell apart. Each message is one line that says what to do next."""

from __future__ import annotations


class SafeMLRMError(Exception):
    """Base of all errors that this package raises on purpose."""


class UsageError(SafeMLRMError):
    """The command or call was wrong: unknown name, bad option, conflicting settings. Exit code 2."""


class DataError(SafeMLRMError):
    """A benchmark's files are missing or malformed. Names the file, the field and the remedy. Exit code 2."""


class StoreError(SafeMLRMError):
    """A run folder cannot be used: locked, damaged, of a newer schema, or started with other options. Exit code 2."""


class ModelError(SafeMLRMError):
    """A model gave no reply. Recorded in the run's errors file, never turned into an answer.

    `kind` is a short stable word (`rate_limit`, `server`, `timeout`, `connection`, `malformed`, `auth`, `not_found`,
    `bad_request`, `context_length`, `unsupported`, `attack` and `component` for failures of an attack, defense or
    judge itself, `other`); `status` the HTTP status, if there was one; `retryable` whether trying
    again can help; `retry_after` the seconds the server asked for, if it did.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str = "other",
        status: int | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retryable = retryable
        self.retry_after = retry_after
