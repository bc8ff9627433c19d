"""The sections of a recipe that say what a user knows of the licences of the inputs, and which of them are accepted."""

from __future__ import annotations

from typing import Annotated

import pydantic
from pydantic import Field

from edgepress.compress.licences.table import known_licence
from edgepress.compress.recipe.sections import NOT_EMPTY, Section

Licence = Annotated[str, pydantic.AfterValidator(known_licence)]
Reason = Annotated[str, Field(pattern=NOT_EMPTY, max_length=1000)]


class Licences(Section):
    """Licences of the inputs, where no card and no LICENSE file beside them says so: of the `teacher`, of the `student`
    (its `model` or `init_from`), of the `data`, of your own `code`; and of the `release`, for its model card. Each is
    an SPDX id or expression (`Apache-2.0`, `MIT OR Apache-2.0`), a name of the [table](licences.md) (`gemma`), or
    `LicenseRef-NAME` for other terms. What a card or file says besides holds as well."""

    teacher: Licence | None = None
    student: Licence | None = None
    data: Licence | None = None
    code: Licence | None = None
    release: Licence | None = None


class AcceptLicence(Section):
    """Why an input under a licence that restricts, or that is not known, may be released all the same, in your own
    words; `edgepress package` stops without it. The reason goes into the manifest."""

    teacher: Reason | None = None
    student: Reason | None = None
    data: Reason | None = None
    code: Reason | None = None
