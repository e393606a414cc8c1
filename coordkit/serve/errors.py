"""Errors in OpenAI's shape."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError


class ApiError(Exception):
    """What is answered instead of a reply.

    Args:
        status: HTTP status.
        message: what is wrong and what to do.
        code: a word for programs.
        param: the part of the request that is wrong.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "invalid_value",
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """The error as OpenAI writes it."""
        kinds = {401: "authentication_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "api_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}


def invalid(error: ValidationError) -> ApiError:
    """A 400 that names the first field that is wrong."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return ApiError(400, f"{where}: {first['msg']}", param=where or None)


# What a fault in transport looks like from outside.
LOST: dict[str, tuple[int, str]] = {
    "rate_limited": (429, "Rate limit reached (a simulated fault). Wait and send it again."),
    "server_error": (500, "The server had an error (a simulated fault). Send it again."),
    "timed_out": (408, "The request timed out (a simulated fault). Send it again."),
}


def lost(mode: str) -> ApiError:
    """A transport fault as a status."""
    status, message = LOST[mode]
    return ApiError(status, message, mode, headers={"Retry-After": "1"} if status == 429 else None)
