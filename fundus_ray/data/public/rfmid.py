"""RFMiD: 3,200 colour photographs with 45 conditions, each 0 or 1. MH is media haze here, MHL macular hole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space
from fundus_ray.data.public.layout import file_name, first_of, located_rows
from fundus_ray.data.public.reading import NO_OR_YES, Files, RowError, code
from fundus_ray.data.tables import read_table
from fundus_ray.types import Modality

NAME = "rfmid"
DISEASES = {
    "DR": "diabetic retinopathy",
    "ARMD": "age-related macular degeneration",
    "MH": "media haze",
    "DN": "drusen",
    "MYA": "pathologic myopia",
    "BRVO": "branch retinal vein occlusion",
    "TSLN": "tessellated fundus",
    "ERM": "epiretinal membrane",
    "LS": "laser scars",
    "MS": "macular scar",
    "CSR": "central serous chorioretinopathy",
    "ODC": "large optic cup",
    "CRVO": "central retinal vein occlusion",
    "TV": "tortuous vessels",
    "AH": "asteroid hyalosis",
    "ODP": "optic atrophy",  # optic disc pallor
    "ODE": "optic disc oedema",
    "ST": "optociliary shunt",
    "AION": "anterior ischaemic optic neuropathy",
    "PT": "macular telangiectasia",  # parafoveal telangiectasia
    "RT": "retinal traction",
    "RS": "retinitis",
    "CRS": "chorioretinitis",
    "EDN": "hard exudates",
    "RPEC": "retinal pigment epithelium changes",
    "MHL": "macular hole",
    "RP": "retinitis pigmentosa",
    "CWS": "cotton wool spots",
    "CB": "chorioretinal coloboma",
    "ODPM": "optic disc pit maculopathy",
    "PRH": "preretinal haemorrhage",
    "MNF": "myelinated nerve fibres",
    "HR": "retinal haemorrhage",  # haemorrhagic retinopathy
    "CRAO": "central retinal artery occlusion",
    "TD": "tilted disc",
    "CME": "cystoid macular oedema",
    "PTCR": "post-traumatic choroidal rupture",
    "CF": "choroidal folds",
    "VH": "vitreous haemorrhage",
    "MCA": "retinal arterial macroaneurysm",
    "VS": "retinal vasculitis",
    "BRAO": "branch retinal artery occlusion",
    "PLQ": "retinal arterial plaque",
    "HPED": "haemorrhagic pigment epithelial detachment",
    "CL": "collateral vessels",
}
# official split -> (folder in the key, label files, image folders), as the challenge and as Kaggle lay them out
SPLITS = {
    "train": (
        "a. Training Set",
        ("2. Groundtruths/a. RFMiD_Training_Labels.csv", "Training_Set/Training_Set/RFMiD_Training_Labels.csv"),
        ("1. Original Images/a. Training Set", "Training_Set/Training_Set/Training"),
    ),
    "val": (
        "b. Validation Set",
        ("2. Groundtruths/b. RFMiD_Validation_Labels.csv", "Evaluation_Set/Evaluation_Set/RFMiD_Validation_Labels.csv"),
        ("1. Original Images/b. Validation Set", "Evaluation_Set/Evaluation_Set/Validation"),
    ),
    "test": (
        "c. Testing Set",
        ("2. Groundtruths/c. RFMiD_Testing_Labels.csv", "Test_Set/Test_Set/RFMiD_Testing_Labels.csv"),
        ("1. Original Images/c. Testing Set", "Test_Set/Test_Set/Test"),
    ),
}


def row_of(row: Mapping[str, str], *, part: str, official_split: str, folder: str) -> Labelled:
    """One image. IDs start from 1 in each part, so the key names the part. Raises RowError where `Disease_Risk` and the
    45 columns do not agree."""
    name = f"{file_name(row, 'ID')}.png"
    key = f"1. Original Images/{part}/{name}"
    at_risk = code(row, "Disease_Risk", NO_OR_YES)
    diagnoses = tuple(disease for column, disease in DISEASES.items() if code(row, column, NO_OR_YES))
    if at_risk != bool(diagnoses):
        named = ", ".join(diagnoses) or "no disease"
        raise RowError("contradiction", f"Disease_Risk is {row['Disease_Risk']} but the other columns say {named}")
    return Labelled(
        source=NAME,
        key=key,
        image=Path(folder, name),
        modality=Modality.CFP,
        patient_id=key,
        official_split=official_split,
        diagnoses=diagnoses,
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """All three parts. Raises DataError where a label file, an image folder or a column is missing."""
    files = Files(root)
    for split, (part, tables, folders) in SPLITS.items():
        table = root / first_of(root, *tables, what=f"label file of {part[3:]}")
        folder = first_of(root, *folders, what=f"image folder of {part[3:]}")
        rows = ((row.where, row.cells) for row in read_table(table, columns=("ID", "Disease_Risk", *DISEASES)))
        one = partial(row_of, part=part, official_split=split, folder=folder)
        yield from located_rows(NAME, rows, one, files=files)


SET = PublicSet(
    name=NAME,
    title="RFMiD",
    modality=Modality.CFP,
    licence="see its page",
    url="https://riadd.grand-challenge.org/download-all-classes/",
    patient_key="",
    citation="Pachade et al., Retinal Fundus Multi-Disease Image Dataset (RFMiD), Data 2021",
    read=read,
    space=Space(conditions=tuple(DISEASES.values())),
)
