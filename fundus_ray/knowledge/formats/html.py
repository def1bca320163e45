"""HTML in, one document out: sections at h1 to h3, what is no text of the page dropped, provenance from its head."""

from __future__ import annotations

import codecs
import re
import warnings
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from bs4 import BeautifulSoup, NavigableString, Tag
from bs4.builder import ParserRejectedMarkup
from bs4.dammit import EncodingDetector
from bs4.element import CData, PageElement

from fundus_ray.errors import DataError
from fundus_ray.knowledge.document import Contents, Document, Outline, Section, decode_utf8

_DROPPED_NAMES = "script style nav footer noscript template svg math iframe object select button title"
_INLINE_NAMES = (
    "a abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd label mark q ruby s samp small span "
    "strike strong sub sup time tt u var wbr"
)
_DROPPED, _INLINE = frozenset(_DROPPED_NAMES.split()), frozenset(_INLINE_NAMES.split())
# Of MediaWiki, which EyeWiki runs on: links beside headings and numbers of references.
_DROPPED_CLASSES = frozenset(("mw-editsection", "reference"))
_SPACED = frozenset(("td", "th", "br"))
_STRAY = re.compile(r"""<(?![^<>"']*(?:"[^"<]*"[^<>"']*|'[^'<]*'[^<>"']*)*>)""")
_HEADINGS = {"h1": 1, "h2": 2, "h3": 3}
_LICENCE_META = ("dcterms.license", "dc.rights", "dcterms.rights", "license", "licence")


def read(data: bytes, *, where: str) -> Contents:
    """The page's sections. Raises DataError for bytes that are not in the page's encoding (UTF-8 where it names none)
    and for markup that cannot be parsed.
    """
    soup = _parse(_decode(data, where=where), where=where)
    main = soup.find("main")
    root = main if isinstance(main, Tag) else soup
    heading = soup.find("h1")
    title = _text(soup.find("title")) or _text(heading)
    meta = _meta(soup)
    url = _url(soup, meta)
    document = Document(
        sections=_sections(root, title=title),
        title=title,
        source=meta.get("og:site_name") or (urlsplit(url).hostname or "" if url else ""),
        url=url,
        licence=_licence(soup, meta),
    )
    return Contents((document,))


def _decode(data: bytes, *, where: str) -> str:
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if data.startswith(mark):
            return _decode_as(data[2:], encoding, where=where)
    declared = EncodingDetector.find_declared_encoding(data, is_html=True)
    # As browsers do: a page that says UTF-16 in ASCII letters is not, and Latin-1 means Windows-1252.
    # https://encoding.spec.whatwg.org/#names-and-labels
    if data.startswith(codecs.BOM_UTF8) or not declared or declared.lower().startswith(("utf-16", "utf-8", "utf8")):
        return decode_utf8(data, where=where)
    latin = declared.lower() in ("iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii")
    return _decode_as(data, "windows-1252" if latin else declared, where=where)


def _decode_as(data: bytes, encoding: str, *, where: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as err:
        raise DataError(f"{where}: not {encoding}, which it declares, at byte {err.start}; save it as UTF-8") from None
    except (LookupError, ValueError):
        raise DataError(f"{where}: declares an unknown encoding {encoding[:40]!r}; save it as UTF-8") from None


def _parse(text: str, *, where: str) -> BeautifulSoup:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # guesses that the text may be a file name or XML
            return BeautifulSoup(_tamed(text), "html.parser")
    except (ParserRejectedMarkup, ValueError, RecursionError) as err:
        reason = " ".join(str(err).split())[:200]
        raise DataError(f"{where}: HTML cannot be parsed: {reason}; save the page again") from None


def _tamed(text: str) -> str:
    """The page without what makes the parser look for an end again and again: 150 kB of `<a ` took five minutes.

    Comments go, one that never ends with all that follows it. A `<` is text where its tag, with quotes closed, does not
    end before the next `<`.
    """
    kept: list[str] = []
    end = 0
    while (start := text.find("<!--", end)) >= 0:
        kept.append(text[end:start])
        close = text.find("-->", start)
        end = close + 3 if close >= 0 else len(text)
    kept.append(text[end:])
    return _STRAY.sub("&lt;", "".join(kept).replace("<![", "<!"))


def _sections(root: Tag, *, title: str) -> tuple[Section, ...]:
    outline = Outline()
    for node, entering in _walk(root):
        if isinstance(node, NavigableString):
            outline.text(str(node))
        elif isinstance(node, Tag):
            if node.name in _HEADINGS:
                if entering:
                    text = _text(node)
                    shown = "" if node.name == "h1" and text.casefold() in title.casefold() else text
                    outline.heading(shown, level=_HEADINGS[node.name])
            elif node.name in _SPACED:
                outline.text(" ")
            elif node.name not in _INLINE:
                outline.end_paragraph()
    return outline.sections()


def _walk(root: Tag) -> Iterator[tuple[PageElement, bool]]:
    """(node, entering) in document order, each tag again when it ends. Without recursion: pages nest arbitrarily."""
    stack = [(root, iter(root.contents))]
    while stack:
        tag, children = stack[-1]
        node = next(children, None)
        if node is None:
            stack.pop()
            yield tag, False
        elif isinstance(node, Tag):
            if node.name not in _DROPPED and not _DROPPED_CLASSES.intersection(node.get_attribute_list("class")):
                yield node, True
                if node.name not in _HEADINGS:
                    stack.append((node, iter(node.contents)))
        elif type(node) in (NavigableString, CData):  # not comments, declarations, style sheets
            yield node, True


def _text(tag: object) -> str:
    if not isinstance(tag, Tag):
        return ""
    return " ".join("".join(str(node) for node, _ in _walk(tag) if isinstance(node, NavigableString)).split())


def _meta(soup: BeautifulSoup) -> dict[str, str]:
    """What <meta> tags say, by name in lower case; of two with one name the first that says something."""
    found: dict[str, str] = {}
    for tag in soup.find_all("meta"):
        name, content = str(tag.get("name") or tag.get("property") or "").lower(), str(tag.get("content") or "").strip()
        if content:
            found.setdefault(name, content)
    return found


def _url(soup: BeautifulSoup, meta: Mapping[str, str]) -> str:
    link = soup.find("link", rel="canonical")
    url = (str(link.get("href") or "") if isinstance(link, Tag) else "") or meta.get("og:url", "")
    try:
        known = urlsplit(url).scheme in ("http", "https")
    except ValueError:  # a bracket in the host
        return ""
    return url if known else ""


def _licence(soup: BeautifulSoup, meta: Mapping[str, str]) -> str:
    named = next((meta[name] for name in _LICENCE_META if name in meta), "")
    link = soup.find(["link", "a"], rel="license")
    return named or (str(link.get("href") or "") or _text(link) if isinstance(link, Tag) else "")
