"""What the simulated model knows of language: which intents it reads in a customer's message.

A small classifier is trained on labelled example sentences. Messages may be made of those very
sentences, so it is cross-fitted: no sentence is judged by a model that has seen it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from hashlib import blake2b

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline, make_union

SMALLTALK = "smalltalk"
FOLDS = 5
# "order 10231", "my order #10231" and "{order}" in an example are the same word.
_ORDER = re.compile(r"(?:\border\s+)?(?:\{order\}|\bord[-\s]?\d{4,}|#\d{4,})|\border\s+\d{4,}")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def mask(sentence: str) -> str:
    """A sentence without what makes it one customer's: case, spacing, numbers, closing mark.

    Args:
        sentence: as it was written; an example may have {order} in place of an order's number.
    Returns: the text by which sentences count as the same.
    """
    text = _ORDER.sub("_order_", " ".join(sentence.casefold().split()))
    return _NUMBER.sub("_number_", text).rstrip(".!? ")


def split_sentences(message: str) -> list[str]:
    """The sentences of a message: each ends in . ! or ? before a space, or with its line."""
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n", message) if part.strip()]


class IntentClassifier:
    """Reads intents: TF-IDF of words and letters, logistic regression, cross-fitted.

    A hash of its masked text puts every sentence, example or not, into a fold, and the model of a
    fold is trained on the examples of all other folds. The result is the same in every process.

    Args:
        texts: example sentences.
        labels: the intent of each, or "smalltalk".
    Raises: ValueError if fewer than two labels are left to train on outside some fold.
    """

    def __init__(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        masked = [(mask(text), label) for text, label in zip(texts, labels, strict=True)]
        self._examples = list(dict.fromkeys(text for text, _ in masked))
        self._models = [
            _train([(text, label) for text, label in masked if self._fold(text) != fold])
            for fold in range(FOLDS)
        ]

    def predict(self, sentence: str) -> tuple[str, float]:
        """The most probable label of a sentence and its probability, 0 to 1."""
        return _likeliest(self._probabilities(sentence))

    def intents(self, message: str) -> tuple[list[str], float]:
        """What a message asks for: every intent that some sentence more likely than not has.

        Returns: the intents in order and without repeats (the likeliest one if none is more likely
            than not), with the lowest probability among them.
        """
        found = [self._probabilities(s) for s in split_sentences(message) or [message]]
        read = [_likeliest(probabilities) for probabilities in found]
        asked = [(label, p) for label, p in read if label != SMALLTALK and p > 0.5]
        if not asked:
            others = [{k: p for k, p in each.items() if k != SMALLTALK} for each in found]
            asked = [max(map(_likeliest, others), key=lambda choice: choice[1])]
        return list(dict.fromkeys(label for label, _ in asked)), min(p for _, p in asked)

    def _fold(self, masked: str) -> int:
        return int.from_bytes(blake2b(masked.encode(), digest_size=8).digest()) % FOLDS

    def _probabilities(self, sentence: str) -> dict[str, float]:
        masked = mask(sentence)
        known = self._judged_examples.get(masked)
        return known or _judge_one(self._models[self._fold(masked)], masked)

    @cached_property
    def _judged_examples(self) -> dict[str, dict[str, float]]:
        """Every example judged, a fold at a time: alone, a sentence takes thirty times as long."""
        judged: dict[str, dict[str, float]] = {}
        for fold, model in enumerate(self._models):
            if texts := [text for text in self._examples if self._fold(text) == fold]:
                judged |= zip(texts, _judge(model, texts), strict=True)
        return judged


@lru_cache(maxsize=4)
def classifier_of(texts: tuple[str, ...], labels: tuple[str, ...]) -> IntentClassifier:
    """The classifier of these examples; kept, for training takes a second."""
    return IntentClassifier(texts, labels)


def _likeliest(probabilities: dict[str, float]) -> tuple[str, float]:
    return max(probabilities.items(), key=lambda item: item[1])


def _judge(model: Pipeline, masked: Sequence[str]) -> list[dict[str, float]]:
    """The probability of each label, for each text."""
    labels = [str(label) for label in model.classes_]
    return [dict(zip(labels, map(float, row), strict=True)) for row in model.predict_proba(masked)]


@lru_cache(maxsize=10_000)
def _judge_one(model: Pipeline, masked: str) -> dict[str, float]:
    """One text judged; cached, for the same sentences come again and again."""
    return _judge(model, [masked])[0]


def _train(examples: Sequence[tuple[str, str]]) -> Pipeline:
    if len({label for _, label in examples}) < 2:
        raise ValueError("too few example sentences: two labels must remain outside every fold")
    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    # liblinear runs in one thread: the same bits in every process, and quicker than lbfgs here.
    regression = LogisticRegression(C=10.0, solver="liblinear", dual=True, random_state=0)
    texts, labels = zip(*examples, strict=True)
    return make_pipeline(features, OneVsRestClassifier(regression)).fit(texts, labels)
