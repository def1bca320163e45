"""OCTDL: OCT B-scans of seven classes with stage, patient and eye in a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space, once
from fundus_ray.data.public.folders import class_folder
from fundus_ray.data.public.layout import file_name, first_of, located_rows
from fundus_ray.data.public.reading import Files, code
from fundus_ray.data.tables import read_table
from fundus_ray.types import Modality

NAME = "octdl"
INTERFACE = "vitreomacular interface disease"
DISEASES: dict[str, tuple[str, ...]] = {
    "AMD": ("age-related macular degeneration",),
    "DME": ("diabetic macular oedema",),
    "ERM": ("epiretinal membrane",),
    "NO": (),
    "RAO": ("retinal artery occlusion",),
    "RVO": ("retinal vein occlusion",),
    "VID": (INTERFACE,),
}
# Of disease VID, `subcategory` names the kind; `condition` says MH for all of them.
INTERFACE_KINDS = {"MH": "macular hole", "LH": "lamellar macular hole", "VMT": "vitreomacular traction"}
AMD_STAGES = {stage: stage for stage in ("early", "intermediate", "late")}
EYES = {"OD": "R", "OS": "L", "0": ""}


def row_of(row: Mapping[str, str], *, folder: str) -> Labelled:
    """One B-scan; `file_name` has no extension. `subcategory` is the stage where the disease is AMD, and only there: an
    RVO can be "late" too; any other disease is no AMD, as FunBench reads it. Tables without the columns `subcategory`
    and `eye` are read without them."""
    diagnoses = code(row, "disease", DISEASES)
    disease = row["disease"]
    stage: str | None = None if disease == "AMD" else "none"
    if row.get("subcategory") and disease == "AMD":
        stage = code(row, "subcategory", AMD_STAGES)
    if row.get("subcategory") and disease == "VID":
        diagnoses = (*diagnoses, code(row, "subcategory", INTERFACE_KINDS))
    name = file_name(row, "file_name").removesuffix(".jpg") + ".jpg"
    return Labelled(
        source=NAME,
        key=f"OCTDL/{disease}/{name}",
        image=Path(folder, disease, name),
        modality=Modality.OCT,
        patient_id=row["patient_id"],
        eye=code(row, "eye", EYES) if row.get("eye") else "",
        diagnoses=diagnoses,
        amd_stage=stage,
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """Every row of the table. Raises DataError where the table, a column or the class folders are missing."""
    table = root / first_of(root, "OCTDL_labels.csv", "OCTDL/OCTDL_labels.csv", what="label file")
    folder = class_folder(root, "OCTDL", ".", "OCTDL/OCTDL", classes=DISEASES).relative_to(root).as_posix()
    columns = ("file_name", "disease", "patient_id")
    rows = ((row.where, row.cells) for row in read_table(table, columns=columns, optional=("subcategory", "eye")))
    yield from located_rows(NAME, rows, partial(row_of, folder=folder), files=Files(root))


SET = PublicSet(
    name=NAME,
    title="OCTDL",
    modality=Modality.OCT,
    licence="see its page",
    url="https://data.mendeley.com/datasets/sncdhf53xc/1",
    patient_key="patient_id",
    citation="Kulyabin et al., OCTDL: Optical Coherence Tomography Dataset, Scientific Data 2024",
    read=read,
    space=Space(conditions=once(DISEASES.values()), kinds=dict.fromkeys(INTERFACE_KINDS.values(), INTERFACE)),
)
