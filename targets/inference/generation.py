"""Decoding in NumPy: tokens one after the other from a decoder's steps, greedy or sampled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from edgepress.targets.device.needs import handed_on
from edgepress.targets.errors import DataError, TargetError
from edgepress.targets.inference.answers import softmax
from edgepress.targets.protocols import Session
from edgepress.targets.records import ENCODE, STEP, Feeds, Signature

GREEDY = 0.0


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Args:
        max_new_tokens: at most so many; fewer where an end token comes first or the cache is full.
        temperature: 0 takes the likeliest; above it tokens are drawn, from softmax(logits / temperature).
        top_k: draws from the k likeliest alone.
        top_p: draws from the fewest tokens that have this probability together (nucleus sampling, arXiv 1904.09751).
        seed: of the draws.

    Raises:
        DataError: a value is out of range, or two contradict each other.
    """

    max_new_tokens: int = 128
    temperature: float = GREEDY
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise DataError(f"max_new_tokens is {self.max_new_tokens}: give 1 or more.")
        if not 0 <= self.temperature < float("inf"):
            raise DataError(f"temperature is {self.temperature:g}: give 0, which takes the likeliest token, or more.")
        if self.top_k is not None and self.top_k < 1:
            raise DataError(f"top_k is {self.top_k}: give 1 or more.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise DataError(f"top_p is {self.top_p:g}: give more than 0 and at most 1.")
        if self.temperature == GREEDY and (self.top_k, self.top_p) != (None, None):
            which = "top_k" if self.top_k is not None else "top_p"
            raise DataError(
                f"{which} says what is drawn from, and temperature 0 draws nothing. Set a temperature, or leave it out."
            )

    def choose(self, logits: np.ndarray, random: np.random.Generator) -> int:
        """The next token.

        Args:
            logits: `[vocabulary]`.
            random: draws it, where something is drawn.

        >>> Sampling().choose(np.array([0.0, 2.0, 1.0]), np.random.default_rng(0))
        1
        >>> Sampling(temperature=1.0, top_p=0.5).choose(np.array([0.0, 2.0, 1.0]), np.random.default_rng(0))
        1
        """
        if self.temperature == GREEDY:
            return int(logits.argmax())
        likely = softmax(logits.astype(np.float64) / self.temperature)
        order = np.argsort(-likely, kind="stable")[: self.top_k]
        if self.top_p is not None:
            # the first token that reaches top_p is the last one that may be drawn
            order = order[: int(np.searchsorted(np.cumsum(likely[order]), self.top_p)) + 1]
        return int(random.choice(order, p=likely[order] / likely[order].sum()))


@dataclass
class Timing:
    """How long it took: the first token, which reads the whole prompt, and all tokens behind it.

    Args:
        prompt_tokens: tokens that were read.
        new_tokens: tokens that were made.
        first_ms: until the first of them, ms.
        seconds: for those behind the first.
    """

    prompt_tokens: int = 0
    new_tokens: int = 0
    first_ms: float = 0.0
    seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float | None:
        """Of decoding, the first token left out; None where there was no second one."""
        return (self.new_tokens - 1) / self.seconds if self.new_tokens > 1 and self.seconds > 0 else None


@dataclass
class Generation:
    """Tokens as they are made; iterate over it once. `timing` fills while it runs.

    Raises:
        DataError: the prompt has no token, or more than the model has positions.
    """

    session: Session
    signature: Signature
    prompt: np.ndarray
    sampling: Sampling
    ends: frozenset[int]
    timing: Timing = field(default_factory=Timing)

    def __post_init__(self) -> None:
        check_prompt(self.signature, self.prompt)

    def __iter__(self) -> Iterator[int]:
        """The tokens, the one that ends the text left out.

        Raises:
            TargetError: the runtime fails, or gives NaN.
        """
        random, began = np.random.default_rng(self.sampling.seed), time.perf_counter()
        feeds = self._begin()
        most = min(self.sampling.max_new_tokens, self.signature.bounds["total"][1] - self.prompt.size + 1)
        for number in range(most):
            outputs = self.session.infer(feeds, STEP)
            logits = outputs["logits"][0, -1]
            if not np.isfinite(logits).all():
                raise TargetError("the model gives NaN or infinite logits. Use another target or precision.")
            token = self.sampling.choose(self._allowed(logits), random)
            self.timing.new_tokens = number + 1
            if number == 0:
                self.timing.first_ms, began = 1e3 * (time.perf_counter() - began), time.perf_counter()
            self.timing.seconds = time.perf_counter() - began if number else 0.0
            if token in self.ends:
                return
            yield token
            if number + 1 < most:
                feeds = next_feeds(self.signature, feeds, outputs, np.array([[token]], np.int64))

    def _begin(self) -> dict[str, np.ndarray]:
        """The feeds of the first step."""
        self.timing.prompt_tokens = self.prompt.size
        return first_feeds(self.signature, self.prompt[None])

    def _allowed(self, logits: np.ndarray) -> np.ndarray:
        """The logits `[vocabulary]`, of which every token may be chosen."""
        return logits


@dataclass
class Translation(Generation):
    """Tokens that an encoder-decoder makes of a source; `prompt` is the token that its targets begin with.

    Args:
        source: tokens, int64 `[sequence]`.
        encode: the signature of the program that reads them.
        padding: the token that pads, which is never chosen: no target that was learned from has it.

    Raises:
        DataError: the source has no token, or more than the model has positions.
    """

    source: np.ndarray = field(kw_only=True)
    encode: Signature = field(kw_only=True)
    padding: int | None = field(kw_only=True)

    def __post_init__(self) -> None:
        check_prompt(self.encode, self.source, "source")

    def _begin(self) -> dict[str, np.ndarray]:
        self.timing.prompt_tokens = self.source.size
        source = {"input_ids": self.source[None], "attention_mask": np.ones_like(self.source[None])}
        encoded = self.session.infer(source, ENCODE)
        return first_of_target(self.signature, encoded, source["attention_mask"], self.prompt[None])

    def _allowed(self, logits: np.ndarray) -> np.ndarray:
        if self.padding is None:
            return logits
        allowed = logits.copy()
        allowed[self.padding] = np.finfo(logits.dtype).min
        return allowed


def check_prompt(signature: Signature, prompt: np.ndarray, size: str = "total") -> None:
    """Raises DataError for a prompt without a token, or with more than the step's cache, or the dimension `size` of
    its signature, has positions."""
    capacity = signature.bounds[size][1]
    if prompt.size == 0:
        raise DataError("the prompt has no token to go on from. Give a text.")
    if prompt.size > capacity:
        raise DataError(f"the prompt has {prompt.size} tokens, and the model has {capacity} positions. Shorten it.")


def first_feeds(signature: Signature, prompt: np.ndarray) -> dict[str, np.ndarray]:
    """The feeds of the step that reads prompts, with caches of no positions and no padding.

    Args:
        signature: of the step.
        prompt: tokens, int64 `[batch, sequence]`.
    """
    rows, length = prompt.shape
    feeds = signature.zeros(batch=rows, sequence=length, past=0, total=length)
    feeds["input_ids"] += prompt
    feeds["attention_mask"] += 1
    return feeds


def first_of_target(
    signature: Signature, encoded: Feeds, mask: np.ndarray, tokens: np.ndarray
) -> dict[str, np.ndarray]:
    """The feeds of the first step behind a source, with caches of no positions.

    Args:
        signature: of the step.
        encoded: what the program "encode" gave.
        mask: of the source, int64 `[batch, source]`.
        tokens: that targets begin with, int64 `[batch, sequence]`.
    """
    (rows, source), length = mask.shape, tokens.shape[1]
    feeds = signature.zeros(batch=rows, source=source, sequence=length, past=0)
    return {**feeds, **handed_on(encoded), "input_ids": tokens, "encoder_attention_mask": mask}


def next_feeds(signature: Signature, feeds: Feeds, outputs: Feeds, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Those of the step behind one, with what it gave as the state.

    Args:
        signature: of the step.
        feeds: of the step before.
        outputs: what it gave.
        tokens: that were chosen, int64 `[batch, 1]`.
    """
    state = {taken: outputs[given] for given, taken in signature.state.items()}
    following = {**feeds, **state, "input_ids": tokens}  # what was made of a source stays as it is
    if "attention_mask" in feeds:
        following["attention_mask"] = np.concatenate([feeds["attention_mask"], np.ones_like(tokens)], 1)
    return following
