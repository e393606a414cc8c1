"""Errors in OpenAI's shape."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException


class ApiError(HTTPException):
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
        super().__init__(status, message, headers)
        self.code, self.param = code, param

    def body(self) -> dict[str, Any]:
        """The error as OpenAI writes it."""
        kinds = {401: "authentication_error", 429: "rate_limit_error"}
        otherwise = "invalid_request_error" if self.status_code < 500 else "api_error"
        kind = kinds.get(self.status_code, otherwise)
        error = {"message": self.detail, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}


# What a fault in transport looks like from outside.
LOST: dict[str, tuple[int, str]] = {
    "rate_limited": (429, "Rate limit reached (a simulated fault). Wait and send it again."),
    "server_error": (500, "The server had an error (a simulated fault). Send it again."),
    "timed_out": (408, "The request timed out (a simulated fault). Send it again."),
}
