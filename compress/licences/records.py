"""What is known of a run's inputs: facts as they were found, and what they came to when the licences were judged."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgepress.compress.licences.table import Verdict
from edgepress.targets.records import PlainName, Record

Role = Literal["teacher", "student", "data", "code"]
PROVENANCE = "provenance.json"


class Stated(Record):
    """A licence, and what says so: the input's card, a LICENSE file beside it."""

    licence: str
    by: str


class Found(Record):
    """One input of a run, as it was found; see `Input`."""

    role: Role
    part: str
    source: str
    kind: Literal["folder", "file", "hub", "built in", "handed over", "code"]
    revision: str = ""
    sha256: str = ""
    stated: tuple[Stated, ...] = ()
    faults: tuple[str, ...] = ()


class Text(Record):
    """A licence text or NOTICE that lay beside an input, and what it is called in a release."""

    name: PlainName
    text: str


class Provenance(Record):
    """`provenance.json` of a run: its inputs, found when it was finished, without what the recipe says of them."""

    format: Literal[1] = 1
    inputs: tuple[Found, ...]
    texts: tuple[Text, ...] = ()


class Input(Record):
    """An input of the run that made a release: what it is, and under which licence."""

    role: Role = Field(description="what the run took it for")
    part: str = Field(description="which part of the recipe names it, e.g. teacher.model")
    source: str = Field(description="as the recipe names it; of an absolute path the last name alone")
    kind: str = Field(description="folder, file, hub, built in, handed over, or code")
    revision: str = Field(default="", description="commit of the hub's repository; empty where none is known")
    sha256: str = Field(
        default="", description="of the file, or of the list of the folder's files; empty for rows of the hub"
    )
    licence: str = Field(default="", description="SPDX expression of all that is stated; empty: nothing is")
    stated_by: tuple[str, ...] = Field(default=(), description="what states it: model card, LICENSE, recipe …")
    verdict: Verdict = Field(description="what the table of licences makes of it; information, not legal advice")
    says: tuple[str, ...] = Field(default=(), description="what the licence says of distilling and passing on")
    source_of_terms: tuple[str, ...] = Field(default=(), description="where that stands, with the date of the text")
    accepted: str = Field(default="", description="the recipe's reason to release it all the same")
