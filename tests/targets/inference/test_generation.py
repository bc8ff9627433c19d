"""Decoding in NumPy: what is chosen, when it ends, what is refused, and how pieces of text come out."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgepress.targets.errors import ArtifactError, DataError, TargetError
from edgepress.targets.inference.decoder import Text, end_tokens
from edgepress.targets.inference.generation import Generation, Sampling
from edgepress.targets.records import Signature, TensorSpec

CAPACITY, END = 8, 4


def spec(name: str, dtype: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


SIGNATURE = Signature(
    inputs=(
        spec("input_ids", "int64", "batch", "sequence"),
        spec("attention_mask", "int64", "batch", "total"),
        spec("past", "float32", "batch", 1, "past", 1),
    ),
    outputs=(spec("logits", "float32", "batch", "sequence", 5), spec("present", "float32", "batch", 1, "total", 1)),
    bounds={"batch": (1, 4), "sequence": (1, CAPACITY), "past": (0, CAPACITY), "total": (1, CAPACITY)},
    state={"present": "past"},
)


class Counting:
    """A decoder whose likeliest next token is one more than the last; its cache holds the tokens it has read."""

    def __init__(self, spoil: float = 0.0) -> None:
        self.seen: list[list[float]] = []
        self.spoil = spoil

    def infer(self, feeds: Any, program: str = "main") -> dict[str, np.ndarray]:
        assert program == "step"
        SIGNATURE.check(feeds)
        tokens = feeds["input_ids"]
        present = np.concatenate([feeds["past"], tokens[:, None, :, None].astype(np.float32)], 2)
        assert present.shape[2] == feeds["attention_mask"].shape[1]
        self.seen.append(present.ravel().tolist())
        logits = np.zeros((1, tokens.shape[1], 5), np.float32)
        logits[0, -1, (tokens[0, -1] + 1) % 5] = 3.0
        return {"logits": logits + self.spoil, "present": present}


def made(prompt: list[int], session: Any = None, ends: frozenset[int] = frozenset(), **options: Any) -> list[int]:
    tokens = np.array(prompt, np.int64)
    return list(Generation(session or Counting(), SIGNATURE, tokens, Sampling(**options), ends))


def test_each_token_is_fed_once_with_the_cache_of_those_before_it() -> None:
    session = Counting()
    assert made([1, 2], session, max_new_tokens=3) == [3, 4, 0]
    assert session.seen == [[1, 2], [1, 2, 3], [1, 2, 3, 4]]


def test_it_ends_at_an_end_token_at_the_number_asked_for_or_where_the_cache_is_full() -> None:
    assert made([1], ends=frozenset({END})) == [2, 3]
    assert made([1], max_new_tokens=2) == [2, 3]
    assert len(made([1, 2, 3])) == CAPACITY - 3 + 1


def test_what_cannot_be_gone_on_with_is_one_line() -> None:
    with pytest.raises(DataError, match="the prompt has no token to go on from"):
        made([])
    with pytest.raises(DataError, match=r"the prompt has 9 tokens, and the model has 8 positions. Shorten it"):
        made([0] * 9)
    with pytest.raises(TargetError, match="NaN or infinite logits"):
        made([1], Counting(float("nan")))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0: give 1 or more"),
        ({"temperature": -1.0}, "temperature is -1: give 0, which takes the likeliest token, or more"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": 1.0, "top_k": 0}, "top_k is 0"),
        ({"temperature": 1.0, "top_p": 1.5}, "top_p is 1.5: give more than 0 and at most 1"),
        ({"top_k": 5}, "top_k says what is drawn from, and temperature 0 draws nothing"),
        ({"top_p": 0.5}, "top_p says what is drawn from, and temperature 0 draws nothing"),
    ],
)
def test_sampling_options_that_are_wrong_or_contradict_each_other_are_refused(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        Sampling(**options)


def test_draws_follow_the_softened_probabilities_within_what_may_be_drawn() -> None:
    """Logits log(1, 2, 4): at temperature 1 shares of 1/7, 2/7, 4/7; of the two likeliest 1/3 and 2/3."""
    logits, random = np.log(np.array([1.0, 2.0, 4.0])), np.random.default_rng(0)
    drawn = np.bincount([Sampling(temperature=1.0).choose(logits, random) for _ in range(7000)])
    assert np.abs(drawn / 7000 - np.array([1, 2, 4]) / 7).max() < 0.02
    drawn = np.bincount([Sampling(temperature=1.0, top_k=2).choose(logits, random) for _ in range(3000)], minlength=3)
    assert drawn[0] == 0 and abs(drawn[2] / 3000 - 2 / 3) < 0.03
    assert {Sampling(temperature=1.0, top_p=0.57).choose(logits, random) for _ in range(50)} == {2}
    assert {Sampling(temperature=1.0, top_p=0.6).choose(logits, random) for _ in range(90)} == {1, 2}


def test_the_same_seed_draws_the_same_tokens() -> None:
    first, again, other = (made([1], temperature=5.0, seed=seed) for seed in (3, 3, 4))
    assert first == again != other


def test_pieces_wait_for_the_rest_of_a_character() -> None:
    class Tokens:
        timing = None

        def __iter__(self) -> Iterator[int]:
            return iter([0, 1, 2])

    texts = {1: "a", 2: "a\N{REPLACEMENT CHARACTER}", 3: "a\N{LATIN SMALL LETTER E WITH ACUTE}"}
    tokens: Any = Tokens()
    assert list(Text(tokens, lambda many: texts[len(many)])) == ["a", "\N{LATIN SMALL LETTER E WITH ACUTE}"]


def test_the_first_token_is_timed_apart_from_those_behind_it() -> None:
    found = Generation(Counting(), SIGNATURE, np.array([1]), Sampling(max_new_tokens=3), frozenset())
    assert found.timing.tokens_per_second is None
    list(found)
    assert (found.timing.prompt_tokens, found.timing.new_tokens) == (1, 3)
    assert found.timing.first_ms > 0 and found.timing.tokens_per_second == pytest.approx(2 / found.timing.seconds)


@pytest.mark.parametrize("said", ["</s>", [1, "2"], -1, 1.5])
def test_end_tokens_that_are_none_are_refused(said: Any) -> None:
    with pytest.raises(ArtifactError, match=r"config.json: eos_token_id is .* which are no tokens"):
        end_tokens({"eos_token_id": said}, "config.json")


def test_a_release_without_steps_says_so() -> None:
    from edgepress.targets.inference.bundle import Bundle

    without: Any = SimpleNamespace(_decoder=None)
    with pytest.raises(DataError, match=r"answers rows and goes on with no text. Use Bundle.predict"):
        Bundle.generate(without, "a")
    with pytest.raises(DataError, match=r"goes on with a text and answers no rows. Use Bundle.generate"):
        Bundle.predict(SimpleNamespace(_decoder=object(), _prepare=None), ["a"])  # type: ignore[arg-type]
