"""JATS XML of PubMed Central in, one document an article out: abstract and body by section, provenance from its front.

References, tables' cells, formulae and marks of citations are left out; captions of figures and tables stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from fundus_ray.errors import DataError
from fundus_ray.knowledge.document import Contents, Document, Outline, Section, decode_utf8

_DROPPED_NAMES = (
    "table disp-formula inline-formula tex-math math ref-list fn-group fn supplementary-material object-id alt-text"
)
_INLINE_NAMES = (
    "abbrev bold ext-link inline-graphic italic monospace named-content overline roman sans-serif sc strike "
    "styled-content sub sup underline uri xref email"
)
_DROPPED, _INLINE = frozenset(_DROPPED_NAMES.split()), frozenset(_INLINE_NAMES.split())
_DEEPEST = 6  # sections below this level stand beside each other, so that no heading grows without end
_DECLARED = re.compile(rb"\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.-]+)")
_EMPTY_BRACKETS = re.compile(r"\s?[\[(][\s,;\u2013-]{0,40}[\])]")  # left where a citation was
_JOURNAL_PATHS = ("front/journal-meta/journal-title-group/journal-title", "front/journal-meta/journal-title")
_XLINK_HREF = "{http://www.w3.org/1999/xlink}href"


def read(data: bytes, *, where: str) -> Contents:
    """The file's articles. Raises DataError for XML that is malformed, defines entities (an XML bomb) or reads others
    from elsewhere, and for XML that is not JATS.
    """
    articles = list(_articles(_parse(data, where=where)))
    if not articles:
        raise DataError(f"{where}: no <article> in it; of XML only JATS (PubMed Central) is read")
    documents = tuple(_article(article) for article in articles)
    if len(documents) == 1:
        return Contents(documents)
    names = [_pmcid(article) or str(number) for number, article in enumerate(articles)]
    return Contents(tuple(replace(document, name=name) for document, name in zip(documents, names, strict=True)))


def _articles(root: Element) -> Iterator[Element]:
    """The outermost articles: a download of several wraps them."""
    todo = [root]
    while todo:
        element = todo.pop()
        if _local(element) == "article":
            yield element
        else:
            todo += reversed(element)


def _parse(data: bytes, *, where: str) -> Element:
    declared = _DECLARED.match(data)
    if not data.startswith((b"\xff\xfe", b"\xfe\xff")) and (not declared or declared.group(1).lower() == b"utf-8"):
        decode_utf8(data, where=where)  # names the byte, which the parser does not
    try:
        # Articles carry a DOCTYPE, which is never fetched; entities, the stuff of bombs, are refused.
        return ElementTree.fromstring(data, forbid_dtd=False, forbid_entities=True, forbid_external=True)
    except DefusedXmlException as err:
        raise DataError(
            f"{where}: refused, as it defines or fetches entities (an XML bomb may): {type(err).__name__}; "
            "remove them from its DOCTYPE"
        ) from None
    except (ParseError, ValueError, LookupError) as err:
        raise DataError(f"{where}: malformed XML: {' '.join(str(err).split())[:200]}; download it again") from None


def _article(article: Element) -> Document:
    outline = Outline()
    for part in _children(article, "front/article-meta/abstract"):
        _read_part(part, outline, heading=_text(_first(part, "title")) or "Abstract")
    for part in [*_children(article, "body"), *_children(article, "floats-group")]:
        _read_part(part, outline, heading="" if _local(part) == "body" else "Figures and tables")
    pmcid, doi = _pmcid(article), _article_id(article, "doi")
    journal = next((_text(el) for path in _JOURNAL_PATHS for el in _children(article, path)), "")
    by_source = (journal, _year(article), pmcid or (f"doi:{doi}" if doi else ""))
    return Document(
        sections=tuple(
            Section(s.heading, tuple(_EMPTY_BRACKETS.sub("", p) for p in s.paragraphs)) for s in outline.sections()
        ),
        title=_text(next(_children(article, "front/article-meta/title-group/article-title"), None)),
        source=", ".join(part for part in by_source if part),
        url=f"https://pmc.ncbi.nlm.nih.gov/articles/{pmcid}/" if pmcid else f"https://doi.org/{doi}" if doi else "",
        licence=_licence(article),
    )


def _read_part(part: Element, outline: Outline, *, heading: str) -> None:
    depth = 1
    outline.heading(heading, level=depth)
    for element, text, ends in _walk(part):
        if text is not None:
            outline.text(text)
        elif _local(element) == "sec":
            depth += -1 if ends else 1
            outline.end_paragraph()
            if not ends:
                outline.heading(_text(_first(element, "title")), level=min(depth, _DEEPEST))
        elif _local(element) not in _INLINE:
            outline.end_paragraph()


def _walk(root: Element) -> Iterator[tuple[Element, str | None, bool]]:
    """(element, text, False) for text, (element, None, whether it ends) where an element below the root starts or ends.

    Titles of sections are left out, as headings carry them. Without recursion: files nest arbitrarily.
    """
    stack = [(root, iter(root))]
    yield root, root.text or "", False
    while stack:
        parent, children = stack[-1]
        child = next(children, None)
        if child is None:
            stack.pop()
            if stack:
                yield parent, None, True
                yield parent, parent.tail or "", False
        elif _is_dropped(child) or (_local(child) == "title" and _local(parent) in ("sec", "abstract")):
            yield parent, child.tail or "", False
        else:
            yield child, None, False
            yield child, child.text or "", False
            stack.append((child, iter(child)))


def _is_dropped(element: Element) -> bool:
    citation = _local(element) == "xref" and element.get("ref-type") == "bibr"
    return citation or not isinstance(element.tag, str) or _local(element) in _DROPPED


def _text(element: Element | None) -> str:
    if element is None:
        return ""
    return " ".join("".join(text for _, text, _ in _walk(element) if text).split())


def _local(element: Element) -> str:
    """The tag without its namespace."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else "processing-instruction"


def _children(element: Element, path: str) -> Iterator[Element]:
    """Elements at a path of local names."""
    step, _, rest = path.partition("/")
    for child in element:
        if _local(child) == step:
            if rest:
                yield from _children(child, rest)
            else:
                yield child


def _first(element: Element, name: str) -> Element | None:
    return next(_children(element, name), None)


def _article_id(article: Element, kind: str) -> str:
    for element in _children(article, "front/article-meta/article-id"):
        if element.get("pub-id-type") == kind:
            return _text(element)
    return ""


def _pmcid(article: Element) -> str:
    value = _article_id(article, "pmcid") or _article_id(article, "pmc")
    number = re.fullmatch(r"(?:PMC)?(\d+)(?:\.\d+)?", value)
    return f"PMC{number.group(1)}" if number else ""


def _year(article: Element) -> str:
    """Of the earliest publication; the day of release by PubMed Central is not one."""
    dates = [
        date
        for date in _children(article, "front/article-meta/pub-date")
        if date.get("pub-type") not in ("pmc-release", "nihms-submitted")
    ]
    return min((_text(_first(date, "year")) for date in dates if _first(date, "year") is not None), default="")


def _licence(article: Element) -> str:
    """An address of the licence where there is one, else its text."""
    for licence in _children(article, "front/article-meta/permissions/license"):
        reference = next((el for el in licence.iter() if _local(el) in ("license_ref", "license-ref")), None)
        link = next((el.get(_XLINK_HREF, "") for el in licence.iter() if el.get(_XLINK_HREF)), "")
        return _text(reference) or link or _text(licence) or licence.get("license-type", "")
    return ""
