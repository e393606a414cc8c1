"""The wire format of ``/v1/embeddings``: hashed words, alike if words are shared."""

from __future__ import annotations

import base64
from typing import Any, Literal

import numpy as np
from pydantic import Field
from sklearn.feature_extraction.text import HashingVectorizer

from coordkit.serve.chat import Wire
from coordkit.serve.schemas import Json


class Body(Wire):
    """A request."""

    model: str
    input: str | list[str] | list[int] | list[list[int]] = Field(min_length=1)
    dimensions: int = Field(256, ge=1, le=4096)
    encoding_format: Literal["float", "base64"] = "float"

    def texts(self) -> list[str]:
        """The texts to embed; lists of token ids are taken as words."""
        given: Any = self.input
        if isinstance(given, str) or isinstance(given[0], int):
            given = [given]
        return [text if isinstance(text, str) else " ".join(map(str, text)) for text in given]


def render(body: Body) -> Json:
    """The embeddings as the endpoint's JSON."""
    texts = body.texts()
    words = HashingVectorizer(n_features=body.dimensions, token_pattern=r"\w+")
    rows = words.transform(texts).toarray().astype("<f4")

    def written(row: np.ndarray[Any, Any]) -> Any:
        base64_wanted = body.encoding_format == "base64"
        return base64.b64encode(row.tobytes()).decode() if base64_wanted else row.tolist()

    data = [
        {"object": "embedding", "index": i, "embedding": written(r)} for i, r in enumerate(rows)
    ]
    tokens = sum(map(len, texts)) // 4
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": body.model, "usage": usage}
