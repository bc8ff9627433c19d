"""The section of a recipe that says where its rows come from, and what is cut of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edgepress.compress.recipe.sections import Fraction, Section, Source


class Columns(Section):
    """Names of the columns in the user's files. `prompt` and `completion` hold what is given and what is to follow it;
    without `prompt` a text is one piece. `source` is what a `target` is made of. `tokens` holds the words of a row,
    `question` and `context` a question and the text that answers it. `label` may be a list: of the numbers of a row, or
    of columns that hold 0 and 1, one for each of several labels. `features` are the columns of vectors, which
    `edgepress init` fills in."""

    text: str = "text"
    text_pair: str | None = None
    prompt: str | None = None
    completion: str = "completion"
    source: str = "source"
    target: str = "target"
    tokens: str = "tokens"
    question: str = "question"
    context: str = "context"
    image: str = "image"
    audio: str = "audio"
    features: tuple[str, ...] | None = None
    label: str | tuple[str, ...] = "label"

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns that hold labels."""
        return (self.label,) if isinstance(self.label, str) else self.label


class Data(Section):
    """Where the rows come from. `train` is a file (.jsonl, .json, .csv, .tsv, each also .gz; .parquet, .npz), a folder
    of class folders, a `datasets` hub id (`owner/name`, `owner/name:split`, pinned as `owner/name@commit`), or
    `builtin:digits`. Where `validation` or `test` is missing it is the source's own split of that name, or is cut from
    `train`. `limit` keeps so many rows of it. Recordings are cut or padded to `window_seconds`. `separator` is what
    stands between several labels in one text. `prefix` is put before every source. `stride` are the tokens that windows
    of a long context share."""

    train: Source
    validation: Source | None = None
    test: Source | None = None
    config: str | None = None
    columns: Columns = Columns()
    labels: tuple[str, ...] | None = None
    separator: Annotated[str, Field(min_length=1)] = ","
    prefix: str = ""
    validation_fraction: Fraction = 0.03
    test_fraction: Fraction = 0.2
    calibration: Annotated[int, Field(ge=1)] = 128
    max_length: Annotated[int, Field(ge=2)] = 128
    stride: Annotated[int, Field(ge=0)] = 32
    image_size: Annotated[int, Field(ge=1)] | None = None
    window_seconds: Annotated[float, Field(gt=0, le=60)] = 1.0
    limit: Annotated[int, Field(ge=1)] | None = None
