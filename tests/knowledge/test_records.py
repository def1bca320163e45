"""Domain-knowledge records are consistent and cover the benchmarks; a broken one is refused by file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from fundus_ray.data.rendered.phantoms import FINDING_RATES
from fundus_ray.errors import DataError
from fundus_ray.knowledge.records import Record, load_records, read_records, record_files
from fundus_ray.knowledge.vocabulary import load_vocabulary
from fundus_ray.types import Modality

RECORDS = load_records()
CFP, OCT, UWF = Modality.CFP, Modality.OCT, Modality.UWF
GOOD = """
record:
  label: glaucoma
  sources: [A source]
  modalities:
    CFP:
      required: [enlarged_cup]
      supportive: [flame_haemorrhage]
      contradicting: [microaneurysm]
      rule: A rule.
"""
NINE = (
    "microaneurysm",
    "dot_blot_haemorrhage",
    "flame_haemorrhage",
    "hard_exudate",
    "cotton_wool_spot",
    "enlarged_cup",
    "arteriolar_narrowing",
    "venous_tortuosity",
)
# What the results of the rendered photographs rest on: required, supportive, contradicting, any_of.
PHANTOMS = {
    "normal": ((), (), NINE, ()),
    "diabetic retinopathy": (
        ("microaneurysm",),
        ("dot_blot_haemorrhage", "hard_exudate", "cotton_wool_spot"),
        ("enlarged_cup", "arteriolar_narrowing", "venous_tortuosity"),
        (),
    ),
    "age-related macular degeneration": (
        (),
        ("hard_exudate", "dot_blot_haemorrhage"),
        (
            "microaneurysm",
            "flame_haemorrhage",
            "cotton_wool_spot",
            "enlarged_cup",
            "arteriolar_narrowing",
            "venous_tortuosity",
        ),
        (("drusen", "large_drusen"),),
    ),
    "glaucoma": (
        (),
        ("flame_haemorrhage", "vessel_bayoneting", "peripapillary_atrophy"),
        (
            "microaneurysm",
            "dot_blot_haemorrhage",
            "hard_exudate",
            "cotton_wool_spot",
            "arteriolar_narrowing",
            "venous_tortuosity",
            "disc_swelling",
        ),
        (("enlarged_cup", "rim_thinning", "rnfl_defect"),),
    ),
    "hypertensive retinopathy": (
        ("arteriolar_narrowing",),
        ("flame_haemorrhage", "cotton_wool_spot", "hard_exudate"),
        ("microaneurysm", "enlarged_cup", "venous_tortuosity"),
        (),
    ),
    "retinal vein occlusion": (
        (),
        ("flame_haemorrhage", "dot_blot_haemorrhage", "cotton_wool_spot"),
        ("microaneurysm", "enlarged_cup", "arteriolar_narrowing"),
        (("venous_tortuosity", "dilated_veins", "sectoral_haemorrhages", "severe_haemorrhages"),),
    ),
    "right eye": (("disc_on_right",), (), ("disc_on_left",), ()),
    "left eye": (("disc_on_left",), (), ("disc_on_right",), ()),
    "optic disc": (("disc_in_centre",), (), ("macula_in_centre", "arcade_in_centre"), ()),
    "macula": (("macula_in_centre",), (), ("disc_in_centre", "arcade_in_centre"), ()),
    "vascular arcade": (("arcade_in_centre",), (), ("disc_in_centre", "macula_in_centre"), ()),
}
# FunBench's option strings: tasks L4b by source, L4c and L4d. "Other abnormalities ..." is no disease.
DR_GRADES = (
    "No any diabetic retinopathy",
    *(f"{grade} nonproliferative diabetic retinopathy" for grade in ("Mild", "Moderate", "Severe")),
    "Proliferative diabetic retinopathy",
)
AMD_STAGES = tuple(f"{stage} age-related macular degeneration" for stage in ("No any", "Early", "Intermediate", "Late"))
FUNBENCH = {
    CFP: (
        # OIA-ODIR
        *("No abnormality", "Diabetic retinopathy", "Glaucoma", "Cataract", "Age-related macular degeneration"),
        *("Hypertensive retinopathy", "Pathological myopia"),
        # RFMiD
        *("Asteroid hyalosis", "Central serous retinopathy", "Chorioretinitis", "Choroidal folds", "Collateral"),
        *("Coloboma", "Cotton wool spots", "Cystoid macular edema", "Drusen", "Exudation", "Laser scar"),
        *("Macular hole", "Myelinated nerve fibers", "Myopia", "Optic disc cupping", "Optic disc pallor"),
        *("Parafoveal telangiectasia", "Plaque", "Post traumatic choroidal rupture", "Preretinal hemorrhage"),
        *("Retinal Vein Occlusion", "Retinal pigment epithelium changes", "Retinal traction", "Retinitis pigmentosa"),
        *("Shunt", "Tessellation", "Tilted disc"),
        # JSIEC
        *("Bietti crystalline dystrophy", "Blur fundus", "Central serous chorioretinopathy"),
        *("Chorioretinal atrophy coloboma", "Congenital disc abnormality", "Disc swelling and elevation"),
        *("Dragged disc", "Epiretinal membrane", "Fibrosis", "Fundus neoplasm", "Large optic cup", "Laser Spots"),
        *("Maculopathy", "Massive hard exudates", "Myelinated nerve fiber", "Optic atrophy", "Possible glaucoma"),
        *("Retinal artery occlusion", "Retinal detachment", "Silicon oil in eye", "Tessellated fundus"),
        *("Vessel tortuosity", "Vitreous particles", "Vogt-Koyanagi-Harada disease", "Yellow-white spots flecks"),
        *DR_GRADES,
        *AMD_STAGES,
    ),
    OCT: (
        # UCSD, OCTID, NEH, OCTDL
        *("No abnormality", "Choroidal neovascularization", "Diabetic macular edema", "Drusen", "Macular hole"),
        *("Central Serous Retinopathy", "Diabetic retinopathy", "Age-related macular degeneration"),
        *("Epiretinal membrane", "Retinal artery occlusion", "Retinal vein occlusion"),
        "Vitreomacular Interface Disease",
        *AMD_STAGES,
    ),
    UWF: (
        # TOP, DeepDRiD
        *("No abnormality", "Age-related macular degeneration", "Retinal Vein Occlusion", "Glaucoma", "Macular hole"),
        *("Diabetic retinopathy", "Retinal detachment", "Retinitis pigmentosa", "Retinal artery occlusion"),
        *DR_GRADES,
    ),
}
# OmniMedVQA and GMAI-MMBench do not list the options of their fundus parts in text that we could read. These are the
# class names of the public data sets that such parts are drawn from, written out where the files abbreviate them.
OMNIMEDVQA_GMAI = {
    CFP: (
        # JSIEC1000, by folder; DR1 to DR3 are grades of its own and MH means another thing elsewhere
        *("Normal", "Tessellated fundus", "Large optic cup", "BRVO", "CRVO", "RAO", "Rhegmatogenous RD", "CSCR"),
        *("VKH disease", "Maculopathy", "ERM", "Pathological myopia", "Possible glaucoma", "Optic atrophy"),
        *("Severe hypertensive retinopathy", "Disc swelling and elevation", "Dragged Disc"),
        *("Congenital disc abnormality", "Retinitis pigmentosa", "Bietti crystalline dystrophy"),
        *("Peripheral retinal degeneration and break", "Myelinated nerve fiber", "Vitreous particles"),
        *("Fundus neoplasm", "Massive hard exudates", "Yellow-white spots-flecks", "Cotton-wool spots"),
        *("Vessel tortuosity", "Chorioretinal atrophy-coloboma", "Preretinal hemorrhage", "Fibrosis", "Laser Spots"),
        *("Silicon oil in eye", "Blur fundus"),
        # RFMiD, the columns that FunBench groups or that no FunBench option shows
        *("Media haze", "Branch retinal vein occlusion", "Central retinal vein occlusion", "Macular scar"),
        *("Tortuous vessels", "Optic disc edema", "Anterior ischemic optic neuropathy", "Retinitis", "Hard exudates"),
        *("Optic disc pit maculopathy", "Hemorrhagic retinopathy", "Central retinal artery occlusion"),
        *("Branch retinal artery occlusion", "Vitreous hemorrhage", "Macroaneurysm", "Vasculitis"),
        *("Hemorrhagic pigment epithelial detachment",),
        # BRSET, iChallenge, PAPILA, MMC-AMD, and grading sets
        *(
            "Nevus",
            "Macular edema",
            "Increased cup disc",
            "Pathologic myopia",
            "Glaucoma suspect",
            "dry AMD",
            "wet AMD",
        ),
        *("PCV", "Ocular toxoplasmosis", "Retinopathy of prematurity", "Papilledema", "No diabetic retinopathy"),
        *("Mild NPDR", "Moderate NPDR", "Severe NPDR", "PDR", "Mild diabetic retinopathy", "non-AMD"),
    ),
    OCT: (
        # Retinal OCT-C8, OCT2017, OCTDL, MMC-AMD
        *("AMD", "CNV", "CSR", "DME", "DR", "DRUSEN", "Macular hole", "NORMAL", "ERM", "RAO", "RVO", "VID"),
        *("dryAMD", "PCV", "wetAMD"),
    ),
    UWF: ("AMD", "RVO", "Glaucoma", "DR", "RD", "RP", "Retinal artery occlusion"),
}


@pytest.mark.parametrize("label", PHANTOMS)
def test_the_records_that_the_measured_results_rest_on_stay_as_they_are(label: str) -> None:
    record = RECORDS.get(label, CFP)
    assert record is not None
    assert (record.required, record.supportive, record.contradicting, record.any_of) == PHANTOMS[label]


@pytest.mark.parametrize("disease", FINDING_RATES)
def test_nothing_that_a_phantom_shows_speaks_against_its_disease_and_what_it_always_shows_suffices(
    disease: str,
) -> None:
    record = RECORDS.get(disease, CFP)
    assert record is not None
    assert not set(FINDING_RATES[disease]) & set(record.contradicting)
    certain = {finding for finding, rate in FINDING_RATES[disease].items() if rate == 1.0}
    assert set(record.required) <= certain
    assert all(certain & set(group) for group in record.any_of)


def test_every_label_of_the_vocabulary_has_a_record_and_no_other() -> None:
    assert {label for label, _ in RECORDS.by_key} == set(load_vocabulary().labels)
    assert len(load_vocabulary().labels) - len({"normal", "right eye", "left eye", "optic disc", "macula"}) >= 45


@pytest.mark.parametrize("key", RECORDS.by_key, ids=lambda key: f"{key[0]}-{key[1].value}")
def test_a_record_uses_known_findings_once_and_says_why_and_whence(key: tuple[str, Modality]) -> None:
    record = RECORDS.by_key[key]
    findings = record.in_favour + record.contradicting
    assert findings
    assert set(findings) <= set(load_vocabulary().findings)
    assert len(set(findings)) == len(findings)
    assert all(len(group) >= 2 for group in record.any_of)
    assert record.rule.endswith(".")
    assert record.sources


def test_each_disease_has_something_that_speaks_for_it() -> None:
    healthy = {"normal", "no diabetic retinopathy", "no age-related macular degeneration"}
    silent = {r.label for r in RECORDS.by_key.values() if not r.in_favour}
    assert silent == healthy
    assert {r.label for r in RECORDS.by_key.values() if not r.decisive} == healthy


def test_severe_nonproliferative_disease_is_any_of_the_4_2_1_rule_and_proliferative_any_sign_of_new_vessels() -> None:
    for modality in (CFP, UWF):
        severe, proliferative = RECORDS.get("severe NPDR", modality), RECORDS.get("PDR", modality)
        assert severe is not None
        assert proliferative is not None
        assert (severe.required, severe.any_of) == ((), (("severe_haemorrhages", "venous_beading", "irma"),))
        assert proliferative.required == ()
        (group,) = proliferative.any_of
        assert {"neovascularisation", "preretinal_haemorrhage", "vitreous_haemorrhage"} <= set(group)
        assert set(group) <= set(severe.contradicting)


def test_what_speaks_for_a_label_is_what_it_requires_its_groups_and_what_supports_it(tmp_path: Path) -> None:
    text = GOOD.replace(
        "[flame_haemorrhage]", "[flame_haemorrhage]\n      any_of: [[drusen, irma], [crystals, flecks]]"
    )
    record = get(write(tmp_path, text), "glaucoma", CFP)
    assert record.any_of == (("drusen", "irma"), ("crystals", "flecks"))
    assert record.decisive == ("enlarged_cup", "drusen", "irma", "crystals", "flecks")
    assert record.in_favour == (*record.decisive, "flame_haemorrhage")


def test_every_finding_of_the_vocabulary_is_used() -> None:
    used = {f for r in RECORDS.by_key.values() for f in r.in_favour + r.contradicting}
    assert used == set(load_vocabulary().findings)


@pytest.mark.parametrize(
    ("option", "modality"),
    [(o, m) for options in (FUNBENCH, OMNIMEDVQA_GMAI) for m in Modality for o in dict.fromkeys(options[m])],
)
def test_every_option_of_the_benchmarks_that_is_a_disease_has_a_record(option: str, modality: Modality) -> None:
    assert RECORDS.get(option, modality) is not None


@pytest.mark.parametrize("grades", [DR_GRADES, AMD_STAGES], ids=["DR", "AMD"])
def test_the_grades_of_one_scale_are_told_apart(grades: tuple[str, ...]) -> None:
    records = [RECORDS.get(grade, CFP) for grade in grades]
    found = [r for r in records if r is not None]
    assert len({r.label for r in found}) == len(grades)
    for lower, higher in pairwise(found):
        # What the higher grade requires speaks against the lower one.
        assert set(higher.decisive) <= set(lower.contradicting)


def test_branch_and_central_occlusion_are_labels_of_their_own() -> None:
    branch, central, either = (RECORDS.get(name, CFP) for name in ("BRVO", "CRVO", "RVO"))
    assert branch is not None
    assert central is not None
    assert either is not None
    assert len({branch.label, central.label, either.label}) == 3
    assert set(branch.required) & set(central.contradicting)
    assert set(central.required) & set(branch.contradicting)


def test_disc_oedema_is_of_any_cause_and_papilloedema_is_a_word_for_it() -> None:
    for modality in Modality:
        oedema = RECORDS.get("papilledema", modality)
        assert oedema is not None
        assert oedema is RECORDS.get("Disc swelling and elevation", modality)
        assert oedema.label == "optic disc oedema"
    photograph = RECORDS.get("optic disc oedema", CFP)
    assert photograph is not None
    # Ischaemia swells a part of the disc, which pales at once.
    assert photograph.any_of == (("disc_swelling", "sectoral_disc_swelling"),)
    assert "disc_pallor" not in photograph.contradicting


def test_a_coloboma_is_not_atrophy_but_jsiecs_folder_holds_both() -> None:
    for modality in (CFP, UWF):
        coloboma, either = RECORDS.get("Coloboma", modality), RECORDS.get("Chorioretinal atrophy-coloboma", modality)
        assert coloboma is not None
        assert either is not None
        assert coloboma.required == ("coloboma",)
        assert (either.required, either.any_of) == ((), (("coloboma", "chorioretinal_atrophy"),))


def test_a_disease_contradicts_normal_unless_drusen() -> None:
    normal = RECORDS.get("normal", CFP)
    assert normal is not None
    for label in ("diabetic retinopathy", "glaucoma", "hypertensive retinopathy", "retinal vein occlusion"):
        record = RECORDS.get(label, CFP)
        assert record is not None
        # Some of what marks them is seen on real photographs only, where `normal` says "no vessel change".
        assert set(FINDING_RATES[label]) - {"drusen"} <= set(normal.contradicting)
    assert "drusen" not in normal.contradicting


def test_label_is_found_by_alias_in_any_case_and_only_in_its_modality() -> None:
    assert RECORDS.get("rvo", CFP) is RECORDS.get("Retinal Vein Occlusion", CFP)
    assert RECORDS.get("cataract", OCT) is None
    assert RECORDS.get("squint", CFP) is None


def write(folder: Path, text: str, *, name: str = "mine.yaml") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder


def get(folder: Path, label: str, modality: Modality) -> Record:
    record = load_records(folder).get(label, modality)
    assert record is not None
    return record


def test_a_users_record_replaces_the_shipped_one_of_its_label_and_modality_only(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", GOOD)
    assert get(folder, "POAG", CFP).rule == "A rule."
    for label, modality in (("glaucoma", OCT), ("glaucoma", UWF), ("normal", CFP)):
        assert get(folder, label, modality) is RECORDS.get(label, modality)
    shipped = RECORDS.get("glaucoma", CFP)
    assert shipped is not None
    assert shipped.rule != "A rule."
    assert record_files(folder) == [*record_files(), folder / "mine.yaml"]


def test_a_users_folder_is_read_anew_at_each_call(tmp_path: Path) -> None:
    folder = write(tmp_path, GOOD)
    assert get(folder, "glaucoma", CFP).rule == "A rule."
    write(tmp_path, GOOD.replace("A rule.", "Another rule."))
    assert get(folder, "glaucoma", CFP).rule == "Another rule."


def test_a_users_record_may_bring_a_new_label_with_its_aliases(tmp_path: Path) -> None:
    text = GOOD.replace("label: glaucoma", "label: sickle cell retinopathy\n  aliases: [SCR, sickle retinopathy]")
    folder = write(tmp_path, text)
    records = load_records(folder)
    assert records.get("Sickle retinopathy", CFP) is records.by_key["sickle cell retinopathy", CFP]
    assert records.vocabulary.label("SCR") == "sickle cell retinopathy"
    assert load_vocabulary().label("SCR") is None


def test_two_new_labels_cannot_share_an_alias(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("label: glaucoma", "label: one\n  aliases: [same word]"), name="one.yaml")
    write(tmp_path, GOOD.replace("label: glaucoma", "label: two\n  aliases: [Same-word]"), name="two.yaml")
    with pytest.raises(DataError, match=r"two\.yaml: 'Same-word' belongs to 'one' and cannot stand for 'two'"):
        load_records(tmp_path)


def test_who_accepted_a_record_and_when_is_kept(tmp_path: Path) -> None:
    for line in ("on: 2026-01-31", "'on': '2026-01-31'"):
        folder = write(tmp_path, GOOD + f"  accepted: {{by: A. Name, {line}}}\n")
        assert get(folder, "glaucoma", CFP).accepted == ("A. Name", "2026-01-31")
    shipped = RECORDS.get("glaucoma", CFP)
    assert shipped is not None
    assert shipped.accepted is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[enlarged_cup]", "[big_cup]", "CFP: required: finding 'big_cup' is not in findings.yaml"),
        ("[microaneurysm]", "[enlarged_cup]", "'enlarged_cup' stands under required and under contradicting"),
        ("[enlarged_cup]", "[enlarged_cup, enlarged_cup]", "stands under required and under required"),
        ("label: glaucoma", "label: 7", "label must be a name, got 7"),
        ("    CFP:", "    MRI:", "modality 'MRI' is not one of CFP, OCT, UWF"),
        ("sources: [A source]", "sources: []", "at least one source"),
        ("rule: A rule.", "rule:", "CFP: rule must be a sentence"),
        ("      rule: A rule.\n", "", "key 'rule' is missing; CFP has required"),
        ("rule: A rule.", "rule: A rule.\n      note: x", "key 'note' is unknown; CFP has required"),
        ("[enlarged_cup]", "enlarged_cup", "CFP: required must be a list of words"),
        ("  sources: [A source]\n", "", "key 'sources' is missing; a record has label, sources, modalities"),
        ("sources: [A source]", "sources: [A source]\n  modality: CFP", "key 'modality' is unknown"),
        ("sources: [A source]", "sources: [A source]\n  accepted: {by: A. Name}", "accepted must be {by: NAME"),
        (
            "sources: [A source]",
            "sources: [A source]\n  accepted: {by: A, on: 31.1.2026}",
            "accepted must be {by: NAME",
        ),
        (
            "rule: A rule.",
            "rule: A rule.\n      any_of: [drusen, irma]",
            "CFP: any_of: a group must be a list of words",
        ),
        ("rule: A rule.", "rule: A rule.\n      any_of: drusen", "CFP: any_of must be a list of groups"),
        ("rule: A rule.", "rule: A rule.\n      any_of: [[drusen]]", "CFP: any_of: a group needs two or more findings"),
        (
            "rule: A rule.",
            "rule: A rule.\n      any_of: [[]]",
            "CFP: any_of: a group needs two or more findings, got []",
        ),
        (
            "rule: A rule.",
            "rule: A rule.\n      any_of: [[drusen, big_cup]]",
            "CFP: any_of: finding 'big_cup' is not in",
        ),
        (
            "rule: A rule.",
            "rule: A rule.\n      any_of: [[drusen, enlarged_cup]]",
            "'enlarged_cup' stands under required and under any_of",
        ),
        (
            "rule: A rule.",
            "rule: A rule.\n      any_of: [[drusen, irma], [irma, flecks]]",
            "'irma' stands under any_of and under any_of",
        ),
        ("sources: [A source]", "sources: [A source]\n  aliases: [AMD]", "'AMD' belongs to 'age-related macular"),
        ("sources: [A source]", "sources: [A source]\n  aliases: [GL]", "takes no new alias 'GL'"),
        ("label: glaucoma", "label: squint\n  aliases: [AMD]", "'AMD' belongs to 'age-related macular"),
        ("label: glaucoma", "label: Amd", "'Amd' belongs to 'age-related macular degeneration'"),
    ],
)
def test_a_broken_record_is_refused_in_one_line_that_names_the_file(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    folder = write(tmp_path, GOOD.replace(old, new), name="broken.yaml")
    with pytest.raises(DataError) as caught:
        load_records(folder)
    assert "broken.yaml" in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_without_modalities_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, "record: {label: glaucoma, sources: [A], modalities: {}}")
    with pytest.raises(DataError, match=r"mine\.yaml: modalities must hold one or more of CFP, OCT, UWF"):
        load_records(folder)
    folder = write(tmp_path, "record: {label: glaucoma, sources: [A], modalities: {CFP: [drusen]}}")
    with pytest.raises(DataError, match=r"mine\.yaml: CFP must hold required, supportive, contradicting and rule"):
        load_records(folder)


def test_a_shipped_label_must_stand_in_the_vocabulary(tmp_path: Path) -> None:
    folder = write(tmp_path, GOOD.replace("glaucoma", "squint"))
    with pytest.raises(DataError, match=r"mine\.yaml: label 'squint' is not in labels\.yaml"):
        read_records([folder / "mine.yaml"], vocabulary=load_vocabulary())


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder of records \(knowledge\.records_dir\)"):
        load_records(tmp_path / "nowhere")


def test_two_records_of_one_label_and_modality_are_refused(tmp_path: Path) -> None:
    write(tmp_path, GOOD, name="one.yaml")
    write(tmp_path, GOOD, name="two.yaml")
    with pytest.raises(DataError, match=r"two\.yaml: there is another record of 'glaucoma' in CFP"):
        load_records(tmp_path)
