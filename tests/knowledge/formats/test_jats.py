"""An article of PubMed Central becomes abstract and body by section, and nothing hostile is expanded or fetched."""

from __future__ import annotations

import pytest

from fundus_ray.errors import DataError
from fundus_ray.knowledge.document import Document
from fundus_ray.knowledge.formats.jats import read

ARTICLE = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) Journal Archiving DTD v1.3//EN" "JATS-archivearticle1-3.dtd">
<article xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:ali="http://www.niso.org/schemas/ali/1.0/">
<front>
<journal-meta><journal-title-group><journal-title>Eye Journal</journal-title></journal-title-group></journal-meta>
<article-meta><article-id pub-id-type="pmc">PMC123</article-id><article-id pub-id-type="doi">10.1/x</article-id>
<title-group><article-title>Drusen in <italic>AMD</italic></article-title></title-group>
<pub-date pub-type="epub"><year>2021</year></pub-date><pub-date pub-type="pmc-release"><year>2019</year></pub-date>
<permissions><license xlink:href="https://creativecommons.org/licenses/by/4.0/"><license-p>Open access.</license-p>
</license></permissions>
<abstract><sec><title>Purpose</title><p>To see.</p></sec></abstract></article-meta></front>
<body><p>Opening.</p><sec><title>Methods</title><p>Oedema<sup><xref ref-type="bibr" rid="r1">1</xref></sup> was read
[<xref ref-type="bibr" rid="r1">1</xref>, <xref ref-type="bibr" rid="r2">2</xref>] on OCT.</p>
<sec><title>Imaging</title><p>With <bold>micro</bold>scopes.</p><fig><label>Figure 1</label><caption><p>A disc.</p>
</caption></fig></sec></sec><sec><title>Results</title><p>Good.</p><table-wrap><caption><p>Counts.</p></caption>
<table><tr><td>9</td></tr></table></table-wrap></sec></body>
<back><ref-list><ref>Wong 2004</ref></ref-list></back></article>"""


def document(text: str) -> Document:
    (only,) = read(text.encode(), where="a.xml").documents
    return only


def test_abstract_and_sections_nest_and_citations_tables_and_references_go() -> None:
    assert [(s.heading, [" ".join(p.split()) for p in s.paragraphs]) for s in document(ARTICLE).sections] == [
        ("", []),
        ("Abstract", []),
        ("Abstract > Purpose", ["To see."]),
        ("", ["Opening."]),
        ("Methods", ["Oedema was read on OCT."]),
        ("Methods > Imaging", ["With microscopes.", "Figure 1", "A disc."]),
        ("Results", ["Good.", "Counts."]),
    ]


def test_the_front_gives_title_journal_year_id_address_and_licence() -> None:
    found = document(ARTICLE)
    assert found.title == "Drusen in AMD"
    assert found.source == "Eye Journal, 2021, PMC123"
    assert found.url == "https://pmc.ncbi.nlm.nih.gov/articles/PMC123/"
    assert found.licence == "https://creativecommons.org/licenses/by/4.0/"


def test_a_licence_reference_comes_before_a_link_and_text_where_there_is_neither() -> None:
    reference = "<license><ali:license_ref>https://a.org/l</ali:license_ref>"
    assert document(ARTICLE.replace("<license ", reference + "</license><license ")).licence == "https://a.org/l"
    plain = ARTICLE.replace(' xlink:href="https://creativecommons.org/licenses/by/4.0/"', "")
    assert document(plain).licence == "Open access."


def test_without_a_pmc_id_the_doi_is_cited() -> None:
    found = document(ARTICLE.replace('pub-id-type="pmc"', 'pub-id-type="pmid"'))
    assert (found.source, found.url) == ("Eye Journal, 2021, doi:10.1/x", "https://doi.org/10.1/x")


def test_an_id_without_its_letters_is_a_pmc_id() -> None:
    assert document(ARTICLE.replace(">PMC123<", ">123<")).source.endswith("PMC123")


def test_a_download_of_several_articles_is_as_many_documents() -> None:
    first = ARTICLE[ARTICLE.index("<article ") :]
    found = read(f"<pmc-articleset>{first}{first.replace('PMC123', 'PMC9')}</pmc-articleset>".encode(), where="a.xml")
    assert [d.name for d in found.documents] == ["PMC123", "PMC9"]


def test_a_deep_nest_is_read_and_its_headings_stay_short() -> None:
    depth = 2_000
    nest = "<sec><title>x</title>" * depth + "<p>core</p>" + "</sec>" * depth
    sections = document(f"<article><body>{nest}</body></article>").sections
    assert sections[-1].paragraphs == ("core",)
    assert sections[-1].heading == "x > x > x > x > x"


BOMB = '<!DOCTYPE a [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]><article><body><p>&b;</p></body></article>'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (BOMB.encode(), "a.xml: refused, as it defines or fetches entities (an XML bomb may): EntitiesForbidden"),
        (
            b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><article>&a;</article>',
            "a.xml: refused, as it defines or fetches entities",
        ),
        (b'<!DOCTYPE a [<!ENTITY % a SYSTEM "http://a.org/x"> %a;]><article/>', "a.xml: refused"),
        (b"<article><p>", "a.xml: malformed XML: no element found: line 1, column 12; download it again"),
        (b"<article>\xff</article>", "a.xml: not UTF-8 at byte 9 (0xff)"),
        (b'<?xml version="1.0" encoding="klingon"?><article/>', "a.xml: malformed XML: unknown encoding"),
        (b"<html><p>x</p></html>", "a.xml: no <article> in it; of XML only JATS (PubMed Central) is read"),
        (b"", "a.xml: malformed XML"),
    ],
)
def test_hostile_malformed_and_other_xml_is_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(data, where="a.xml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_other_declared_encodings_are_read() -> None:
    text = '<?xml version="1.0" encoding="iso-8859-1"?><article><body><p>\u00d6dem</p></body></article>'
    (found,) = read(text.encode("iso-8859-1"), where="a.xml").documents
    assert found.sections[-1].paragraphs == ("\u00d6dem",)
