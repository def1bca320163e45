"""The words that say how a text means its findings: what denies, what doubts, what links a finding to a disease.

In: prose. Out: `Mark`s in text order, none overlapping. A longer phrase wins over a shorter one in it, so that
"no change in" denies nothing and "cannot be excluded" doubts. The word lists are our own, in the manner of NegEx
(Chapman et al. 2001) and ConText (Harkema et al. 2009).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from fundus_ray.knowledge.matcher import Matcher


class Mark(NamedTuple):
    """text[start:end] is a cue of this kind."""

    start: int
    end: int
    kind: str


def _every(*parts: str) -> tuple[str, ...]:
    """Every phrase that takes one of the words (split at |) of each part in turn: ("a|b", "c") -> "a c", "b c"."""
    return tuple(" ".join(filter(None, words)) for words in product(*(part.split("|") for part in parts)))


_BE = "is|are|was|were|be|been"
_SEEN = (
    "seen|present|visible|found|detected|identified|noted|observed|evident|apparent|appreciated|demonstrated|"
    "visualised|visualized|discernible|recognisable|recognised|recognized|there|obvious|in evidence|part of|a feature|"
    "recorded|documented|reported|noticed|spotted|discovered|made out|perceptible|picked up|to be seen|to be found"
)
_EITHER = "seen|present|visible|found|detected|identified|noted|observed|evident|suspected|expected|likely|reported"
_NOT = "not|never"
_CANNOT = "cannot|can't|can not|could not|couldn't|does not|doesn't|do not|unable to|not possible to|difficult to|not"
_RULE_OUT = "rule out|exclude|completely exclude|fully exclude|definitely exclude|safely exclude"
_RULED_OUT = "ruled out|excluded"
_MAY = "may|might|could"
_LINKS = (
    "indicate|indicates|support|supports|point to|points to|point towards|points towards|confirm|confirms|mean|means|"
    "imply|implies|favour|favours|fit|fits|fit with|fits with|match|matches|correspond to|corresponds to|define|"
    "defines|"
    "explain|explains|prove|proves|argue for|argues for|speak for|speaks for|signify|signifies|reflect|reflects|"
    "characterise|characterises|lead me to|leads me to|lead to|leads to|make me think of|makes me think of|make|makes|"
    "represent|represents|establish|establishes|herald|heralds|indicated|supported|confirmed|favoured|pointed to|"
    "constitute|constitutes|amount to|amounts to|qualify as|qualifies as|go with|goes with|belong to|belongs to|"
    "align with|aligns with|accompany|accompanies|establish the diagnosis of|speak in favour of|speaks in favour of"
)
_SUGGESTS = (
    "suggest|suggests|suggested|raise suspicion of|raises suspicion of|hint at|hints at|raise the suspicion of|"
    "raises the suspicion of|raise the possibility of|raises the possibility of|raise concern for|raises concern for"
)
_SIGN = (
    "sign|signs|first sign|earliest sign|hallmark|hallmarks|feature|features|mark|marks|classic triad|triad|marker|"
    "markers|finding|findings|picture|key sign|classic sign|key feature|symptom|symptoms|manifestation|manifestations|"
    "indicator|indicators|indication|clue|clues|predictor|pointer|criterion|criteria|characteristic|characteristics|"
    "signature|harbinger|consequence|result|proof"
)

_PREVIOUS_WORDS = "previous|prior|former|earlier"
_PREVIOUS = tuple(_PREVIOUS_WORDS.split("|"))
# What is previous without any finding being so: "compared with the previous visit", "scars of previous laser"
_EXAMINATION = (
    "visit|visits|image|images|imaging|photograph|photographs|photo|photos|picture|pictures|scan|scans|examination|"
    "examinations|exam|exams|report|reports|study|studies|session|appointment|oct|treatment|treatments|laser|surgery|"
    "photocoagulation|panretinal photocoagulation|prp|vitrectomy|injection|injections|operation|diagnosis|stage|stages|"
    "question|answer|sentence|paragraph|finding|findings|step"
)

# Kinds of cue. Each phrase has one kind; what a kind does is in polarity.py and relations.py.
_PHRASES: dict[str, tuple[str, ...]] = {
    # denies what follows
    "deny": (
        *("no", "w/o", "denies", "deny", "denied", "denying", "neither", "nor", "none of", "clear of"),
        *("negative for", "neg for", "resolution of", "unaccompanied by", "not accompanied by", "void of"),
        *("nothing resembling", "nothing that looks like", "nothing that suggests", "bereft of", "zero"),
        *("disappearance of", "nothing to suggest", "nothing to indicate", "nothing like", "nil", "no evidence"),
        *("no sign", "no signs", "without evidence of", "without signs of", "without any sign of", "no features of"),
        *("no evidence of", "no evidence for", "no sign of", "no signs of", "no hint of", "no trace of"),
        *_every("fail|fails|failed", "to show|to reveal|to demonstrate|to"),
        *("can rule out", "can exclude", "excluding", "no longer", "not with", "nor with"),
        *_every("not", "to be confused with|be confused with|be mistaken for|mistaken for"),
        *("allows us to rule out", "allow us to rule out", "helps rule out", "help rule out", "helps to rule out"),
    ),
    # denies what stands right before it, else what follows
    "resolved": ("resolved",),
    # denies what stands right before it
    "gone": ("disappeared", "vanished", "cleared"),
    # denies what follows the next "with" or "for"
    "confuse": _every("don't|do not|not|never|one must not|should not", "confuse|mistake"),
    # denies what follows up to a comma
    "deny_to_comma": ("unlike", "rather than", "instead of", "as opposed to", "in contrast to"),
    # denies what follows, and undoes a denial just before it
    "deny_twice": (
        *("without", "absence of", "lack of", "lacks", "lack", "free of", "free from", "devoid of", "missing out on"),
        *("an absence of", "the absence of"),
    ),
    # the same, and a reason for what is said of a disease
    "deny_given": ("in the absence of", "in absence of", "for lack of", "for want of", "because of the absence of"),
    # denies what follows closely, no further than a comma where nothing has followed yet
    "deny_not": (
        *("not", "never", "isn't", "aren't", "wasn't", "weren't", "doesn't", "don't", "didn't", "hasn't", "haven't"),
        *("cannot", "can't", "couldn't", "won't", "wouldn't"),
        *_every("could|would|will|can|did|do|does|has|have|had", "not|never"),
    ),
    "untrue": (
        *("not true that", "wrong to say", "wrong to say that", "not the case that", "incorrect to say", "false that"),
        *_every("is|was|it's", "not", "true that|correct that|the case that|right that|right to say that"),
        *("untrue that", "not correct that"),
        *_every("do not|don't|did not|didn't|cannot|can't", "think|believe|say that|claim that|find that"),
    ),
    # denies what stands before, or what follows at once where nothing stands before
    "deny_back": (
        *("absent", "missing", "lacking", "nowhere to be seen", "nowhere to be found", "nowhere", "negative", "neg"),
        *_every(f"|{_BE}|has been|have been", _NOT, "|clearly|yet|been|to be|definitely|currently|being", _SEEN),
        *_every("cannot|can not|can't|could not|couldn't", "be", _SEEN),
        *_every("has|have|had", "not been|never been|not yet been", _SEEN),
        *_every("is|are|was|were|isn't|aren't|wasn't|weren't", "no longer|not any longer", _SEEN),
        *_every("isn't|aren't|wasn't|weren't|hasn't been|haven't been", _SEEN),
        *_every("no longer", _SEEN),
        *_every("neither", _EITHER, "nor", _EITHER),
        *_every("has|have|had", "resolved|cleared|disappeared|gone|vanished|regressed completely|been excluded"),
        *_every(
            "did not|didn't|does not|do not|has not|have not",
            "develop|developed|exist|occur|occurred|recur|appear|appeared|arise|arisen|appear",
        ),
        *_every(f"{_BE}|has been|have been|can be|could be|may be safely|", _RULED_OUT),
        *("searched for in vain", "in vain", "is nil", "are nil"),
        *("is gone", "are gone", "is out", "are out", "is none", "are none", "was none", "not the case"),
    ),
    "ruled_out_by": _every(f"{_BE}|has been|can be|could be|", _RULED_OUT, "by"),
    "be_not": (*_every("is|are|was|were", "not"), "isn't", "aren't", "wasn't", "weren't"),
    "none": ("none",),
    # doubts what follows
    "hedge": (
        *("may", "might", "could", "may be", "might be", "could be", "perhaps"),
        *("maybe", "possibly", "probably", "presumably", "suspicious for", "suspicious of", "suspicion of", "suspect"),
        *("suspicion for", "suspects", "concern for", "concerning for", "worrisome for", "not sure", "unsure"),
        *("unclear", "uncertain", "not certain", "not clear", "hard to tell", "difficult to tell", "risk of", "r/o"),
        *_every("look|looking|check|checking|search|searching|assess|evaluate|screen|monitor|watch|inspect", "for"),
        *_every(_CANNOT, _RULE_OUT),
        *("to rule out", "to exclude", "rule out", "exclude", "expect", "expected", "not necessarily", "question of"),
        *(
            "wonder",
            "wonder if",
            "wonder whether",
            "wondering",
            "suspecting",
            "speculate",
            "potentially",
            "conceivably",
        ),
        *("possibility of", "possibility that", "chance of", "likelihood of", "exclusion of", "assuming", "supposing"),
        *("in the event of", "provided", "should", "i doubt", "doubt that", "doubt whether", "not convinced"),
        *_every("cannot|can't|could not|couldn't|not", "be certain|be sure|tell|decide|determine|confirm|confident"),
        *_every(
            "cannot|can't|could not|couldn't", "be certain about|be certain of|be sure about|be sure of|say whether"
        ),
        *("hint of", "in case of", "unless", "should show", "differential includes", "signs of possible", "consider"),
        *("suspicious for possible", "at risk of", "at risk for", "prone to", "could these be", "can these be"),
        *("difficult to rule out", "query"),
        *_every("hard to|difficult to|hardly|scarcely", "see|see any|make out|discern|any"),
    ),
    # doubts what follows up to a comma
    "hedge_if": ("if", "whether", "if there were", "were there"),
    # doubts what follows and what stands before
    "would": ("vs", "versus", "would", "would be"),
    # doubts the next finding
    "hedge_next": (
        *("possible", "probable", "suspected", "questionable", "presumed", "equivocal", "doubtful", "likely"),
        *("unconfirmed", "tentative", "ambiguous", "indeterminate", "borderline", "assumed", "conceivable"),
        *("potential", "more likely", "most likely", "very likely", "putative", "suspicious"),
    ),
    # doubts what stands before, or what follows where nothing stands before
    "hedge_back": (
        *_every(_BE, "possible|probable|likely|suspected|questionable|uncertain|equivocal|doubtful|conceivable"),
        *_every("seems|seem|appears|remains|remain", "possible|probable|likely|questionable|uncertain"),
        *_every("cannot|can't|can not|could not|couldn't|may not", "be", "|completely|fully|safely", _RULED_OUT),
        *_every("|is|are|was|were|has|have", "not|not been|not yet been", _RULED_OUT),
        *_every("may|might|could", "|also|still|well", "be", "present|seen|visible|there|hidden|missed|found|lurking"),
        *_every("may|might|could", "exist"),
        *_every("cannot|can't|could not|couldn't", "be confirmed|be verified|be assessed|be judged"),
        *_every("is|are|remains|remain|was|were", "unclear|debatable|in doubt|in question|not confirmed|a possibility"),
        *_every("hardly|scarcely|is hardly|are hardly", "visible|seen|recognisable|discernible"),
        *_every("is|are", "probably|possibly|perhaps", "present|there|seen|visible"),
    ),
    "unlikely": (
        *_every("|is|are|seems|seem|becomes|appears|very|is very|less", "unlikely|improbable"),
        *_every("|is|are", "not likely|not very likely"),
        *("less likely to be", "is less likely", "less likely", "much less likely"),
    ),
    # speaks of an earlier time in what follows
    "past": (
        *_every("history", "of|includes|included"),
        *_every("history", "|is|was", "significant|notable|remarkable", "for"),
        *("status post", "s/p", "used to have", "used to show", "once had", "once was"),
    ),
    # the same of the next finding
    "past_next": _PREVIOUS,
    # the same of what stands before a verb at its side, or of what follows
    "past_both": ("previously", "formerly"),
    # the same of what stands before, or of what follows at the head of a sentence
    "past_back": ("in the past", *_every("year|years|month|months|week|weeks|day|days|long", "ago")),
    # ends what is said of an earlier time
    "now": ("now", "currently", "current", "today", "at present", "presently", "at this visit"),
    "neutral": (
        *_every(_PREVIOUS_WORDS, _EXAMINATION),
        *("prior to", "earlier than", "earlier in", "no earlier"),
        *_every("previously|formerly", "called|known as|termed|named|untreated|healthy|normal"),
        *_every(
            "no|without|no significant|no interval|no significant interval|no further|not any|no clear|no apparent",
            "change in|changes in|increase in|decrease in|progression of|worsening of|improvement in|reduction in|"
            "difference in|change of|change to|growth of",
        ),
        *_every("not", "only|just|merely|simply|surprisingly|limited to|uncommon|unusual|alone|always|to mention"),
        *_every("no|without", "doubt|a doubt|any doubt|question|difficulty|problem"),
        *_every("no", "less than|fewer than|more than|wonder"),
        *("or not", "whether or not", "not absent", "not lacking", "not missing", "not negative for", "why not"),
        *_every("is|are|was|were", "not absent|not lacking|not missing"),
    ),
    "sure": ("definite", "definitely", "clear", "clearly", "certain", "certainly", "obvious", "frank", "unequivocal"),
    # ends every scope
    "break": (
        *("but", "however", "although", "though", "except", "except for", "with", "apart from", "aside from", "yet"),
        *("other than", "save for", "besides", "beyond", "only"),
        *("accompanied by", "alongside", "nonetheless", "nevertheless", "despite", "in spite of"),
        *("pos for", "positive for", "instead"),
    ),
    # ends a scope that has held for something already
    "existential": (
        *("there is", "there are", "there was", "there were", "there has been", "there have been"),
        *_every("i|we|one", "|can|could", "see|find|note|notice|observe|recognise|detect|identify|make out"),
        *_every("could|can", "see|find|detect|identify|make out|discern|observe|spot"),
    ),
    "contrast": ("whereas", "while"),
    "which": ("which", "who", "that are", "that is"),
    "verb": (
        *("is", "are", "was", "were", "seen", "present", "visible", "noted", "found", "identified", "detected"),
        *("evident", "observed", "exist", "exists", "remain", "remains", "lie", "lies", "persist", "has", "have"),
    ),
    "neutral_with": ("confused with", "seen together with"),
    # finding -> disease. `link` takes the list before it, and reads the other way round where the disease stands first
    "link_verb": _every("|can", _LINKS),
    "link": (
        *_every(
            "typical|characteristic|diagnostic|pathognomonic|indicative|classic|specific|evidence|proof|telltale",
            "of|for",
        ),
        *_every("consistent|compatible|in keeping|in line|associated|agrees|agree|accords|linked", "with"),
        *_every(_SIGN, "of"),
        *_every("seen|found|occur|occurs|occurring|common|expected|usual|typically seen|often seen", "in"),
        *_every("required|needed|necessary|criterion|criteria", "for"),
        *("due to", "caused by", "secondary to", "supported by", "suggested by", "confirmed by", "indicated by"),
        *(
            "explained by",
            "accounted for by",
            "attributable to",
            "related to",
            "resulting from",
            "part of the picture of",
        ),
        *("infer", "i infer", "deduce", "i deduce", "diagnosis of", "in agreement with", "clue to", "clues to"),
        *(
            "rests on",
            "rest on",
            "hinges on",
            "relies on",
            "follows from",
            "stems from",
            "inferred from",
            "derives from",
        ),
        *("backed by", "borne out by", "corroborated by", "substantiated by", "strengthened by", "demonstrated by"),
        *("linked to", "in favour of", "as in", "conclude", "i conclude", "i diagnose", "indicating", "supporting"),
        *("pointing to", "pointing towards", "confirming", "meaning", "implying", "favouring", "making", "leading to"),
        *("the hallmark of", "a hallmark of", "evidenced by", "shown by", "is explained by", "consistent only with"),
    ),
    "link_suggest": (
        *_every("|can", _SUGGESTS),
        *_every(_MAY, f"{_SUGGESTS}|{_LINKS}"),
        *("suggestive of", "highly suggestive of", "strongly suggestive of", "suggesting", "strongly suggest"),
    ),
    "link_would": (
        *_every("would|should", "|strongly|then|also", f"{_SUGGESTS}|{_LINKS}"),
        *_every("would be", "required|needed|expected|typical|necessary|characteristic|a sign|seen", "for|in|of"),
    ),
    "against": (
        *_every("|may|can", "rules out|ruling out|excludes|contradicts|contradict|preclude|precludes"),
        *_every("argue|argues|speak|speaks|count|counts|arguing|speaking|counting|militates|weigh|weighs", "against"),
        *("and against", "but against", "goes against", "go against", "point away from", "points away from"),
        *("refute", "refutes", "disprove", "disproves", "at odds with", "less consistent with", "tell against"),
        *_every("i|we", "|can|can also|therefore", "rule out|exclude|discard|dismiss"),
        *("inconsistent with", "incompatible with", "atypical of", "atypical for", "untypical of"),
        *("not consistent with", "not in keeping with", "not compatible with"),
    ),
    "so": ("so", "therefore", "hence", "thus", "consequently", "accordingly", "thereby"),
    "given": (
        *("given", "because", "because of", "since", "based on", "in view of", "on account of", "owing to"),
        *("as there are", "as there is", "as it has", "as it shows", "as we see", "as i see", "as seen by"),
        *(
            "considering",
            "in the presence of",
            "noting",
            "seeing",
            "on finding",
            "due to the presence of",
            "by virtue of",
        ),
        *("judging by", "judging from", "in light of", "as evidenced by", "as shown by", "on the basis of"),
    ),
    # disease -> finding
    "shows": (
        *_every("|can", "show|shows|present with|presents with|require|requires|cause|causes|produce|produces"),
        *_every("typically|usually|often|commonly", "shows|presents with|causes|has"),
        *_every("|is", "characterised by|marked by|defined by|accompanied by|recognised by|typified by"),
        *("characterized by", "is characterized by", "recognized by", "one finds", "manifests as", "manifests with"),
        *("manifest as", "reveals", "demonstrates", "displays", "exhibits", "includes", "comprises"),
    ),
}

# As "shows", of what is not there to see: doubts what follows
_PHRASES["shows_would"] = (
    *_every("would|should|may|might|could", "show|present with|require|need|cause|produce|have"),
    *_every("we|one|i", "would|should", "expect|see|find"),
    "would expect",
)

_NEW_CLAUSE = (
    r"(?:a|an|the|this|these|those|there|it|its|they|we|i|he|she|some|several|few|many|numerous|multiple|only|both|then|"
    r"scattered|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|also|instead|definite|possible|probable|\d{1,3})\b"
)
_SAID_NO = r"(?:no|none|nil|absent|negative|neg|0)(?=\s{0,3}(?:[).,;/\n]|\Z))"
_BY_PUNCTUATION = {
    "stop": (
        r"\b(?:findings|conclusion|required|supportive|impression|diagnosis)\s{0,3}:"
        r"|[;!]|\n\s*|(?<![eEiI]\.[gGeE])(?<!\bvs)\.(?!\d|[a-z]\.)"
    ),
    # "Negatives: drusen"; "0 drusen", but not "0.5 mm", "10,0", "grade 0 drusen", "0 to 2 drusen"
    "deny_mark": (
        r"\b(?:negatives|negative\s{1,3}findings)\s{0,3}:"
        r"|(?<![\w.,/-])(?<!grade\s)(?<!stage\s)(?<!step\s)0(?=\s{1,3}[a-z])"
        r"(?!\s{1,3}(?:to|or|mm|um|dd|disc|d)\b)"
    ),
    "query": r"\?(?=\w)",  # "?CWS"
    "doubt": r"\?(?=\s{0,2}[,)])|\(\?\)",  # "CWS?, drusen"
    "question": r"\?",
    "nothing": rf"\(\s?(?:[-\u2212\u2013]|neg|negative|absent|none|no|(?:n\s?=\s?)?0)\s?\)"
    rf"|[:=\u2013\u2014-]\s{{0,3}}{_SAID_NO}"
    r"|,\s{0,2}(?:no|none|absent)(?=\s{0,2}(?:[).;\n]|\Z))",
    "times_zero": r"\bx\s?0\b(?!\.)",  # "drusen x0"
    "minus": r"[-\u2212](?:ve)?(?=\s{0,2}(?:[,.;\n]|\Z))",  # "CWS -, drusen +"
    "open": rf",\s{{0,3}}(?:and\s{{1,3}})?(?={_NEW_CLAUSE})|\band\s{{1,3}}(?={_NEW_CLAUSE})",
    "link": r"[-=]>|\u2192|\u21d2|=(?=\s)",
    "comma": r",",
    "interjection": r"\bno,",
    "join": r"\b(?:and|or|nor|plus)\b|[&/]|\bas\s{1,3}well\s{1,3}as\b",
}
# The look ahead at what any of them begins with saves most of the time.
_PUNCTUATION = re.compile(
    r"(?=[^\w\s]|\n|\b[acdfinoprsx0])(?:"
    + "|".join(f"(?P<{kind}>{form})" for kind, form in _BY_PUNCTUATION.items())
    + ")",
    re.ASCII | re.IGNORECASE,
)


@lru_cache(maxsize=1)
def _matcher() -> Matcher:
    kinds: dict[str, str] = {}
    for kind, phrases in _PHRASES.items():
        for phrase in phrases:
            kinds.setdefault(phrase, kind)
    return Matcher(kinds)


def marks(prose: str) -> list[Mark]:
    """Every cue of the prose in text order; of two that overlap the one that starts first, then the longer one, then
    the phrase."""
    phrases = [(start, -end, 0, kind) for kind, start, end in _matcher().find(prose.replace("\u2019", "'"))]
    punctuation = [(m.start(), -m.end(), 1, m.lastgroup or "") for m in _PUNCTUATION.finditer(prose)]
    return list(_apart(sorted(phrases + punctuation)))


def _apart(found: list[tuple[int, int, int, str]]) -> Iterator[Mark]:
    done = 0
    for start, minus_end, _, kind in found:
        if start >= done:
            done = -minus_end
            yield Mark(start, done, kind)
