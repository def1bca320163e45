"""A passage: the unit that is indexed, retrieved and cited."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passage:
    """One section of one document, or a part of a long one."""

    id: str  # DOCUMENT#NUMBER, unique in an index
    title: str  # of the document
    section: str  # its heading, "" where there is none
    text: str
    source: str  # who says so, for a citation
    url: str  # "" where unknown
    licence: str  # "unknown" where unknown

    @property
    def sha256(self) -> str:
        """Hash of the text, so that a citation can be checked."""
        return hashlib.sha256(self.text.encode()).hexdigest()
