"""RETOUCH: slices of OCT volumes with masks of three fluids, cut and named as FunBench's process_retouch.py does it.

A mask holds all three fluids at once: 50 times the challenge's own codes 1 to 3. Volumes of the test set have no mask.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fundus_ray.data.labelled import BadRow, Labelled, PublicSet, Space
from fundus_ray.data.public.layout import image_folder, images_in
from fundus_ray.data.public.mask_values import grey_values
from fundus_ray.data.public.reading import Files, RowError, attempt
from fundus_ray.types import Modality

NAME = "retouch"
FLUIDS = {"intraretinal_fluid": 50, "subretinal_fluid": 100, "pigment_epithelial_detachment": 150}
SPLITS = {"TrainingSet": "train", "TestSet": "test"}
FILE_NAME = re.compile(r"RETOUCH-(TrainingSet|TestSet)-\w+_([A-Z]+\d+)_\d+")
IMAGES, MASKS = "pre_processed/oct_imgs", "pre_processed/oct_masks"


def row_of(image: Path, *, files: Files) -> Labelled:
    """One slice, named `RETOUCH-<set>-<device>_<volume>_<slice>.png`. A volume is one patient's, so it stands for the
    patient. Raises RowError on another name, or a mask that is missing, damaged or holds other values."""
    named = FILE_NAME.fullmatch(image.stem)
    if named is None:
        raise RowError("unknown name", f"slice {image.name!r} is not named RETOUCH-<set>-<device>_<volume>_<slice>")
    mask = files.find_any(f"{MASKS}/{image.name}")
    if mask is None and SPLITS[named[1]] == "train":
        raise RowError(
            "missing file", f"{MASKS}/{image.name} does not exist; every slice of the training set has a mask"
        )
    found = grey_values(mask) if mask else set()
    if other := found - {0, *FLUIDS.values()}:
        allowed = ", ".join(map(str, (0, *FLUIDS.values())))
        raise RowError("unknown code", f"mask {mask} holds the value {min(other)}; allowed are {allowed}")
    findings = tuple(fluid for fluid, value in FLUIDS.items() if value in found)
    return Labelled(
        source=NAME,
        key=f"{IMAGES}/{image.name}",
        image=image,
        modality=Modality.OCT,
        patient_id=named[2],
        official_split=SPLITS[named[1]],
        findings=findings if mask else None,
        annotated=tuple(FLUIDS) if mask else (),
        masks={fluid: mask for fluid in findings if mask},
        mask_values={fluid: FLUIDS[fluid] for fluid in findings},
    )


def read(root: Path) -> Iterator[Labelled | BadRow]:
    """Every slice. Raises DataError where there is none: the volumes themselves (.mhd, .raw) are not read."""
    folder = image_folder(root, IMAGES, what="slices that FunBench's process_retouch.py cuts out of the volumes")
    one = partial(row_of, files=Files(root))
    for image in images_in(folder):
        yield attempt(NAME, f"{IMAGES}/{image.name}", partial(one, image))


SET = PublicSet(
    name=NAME,
    title="RETOUCH",
    modality=Modality.OCT,
    licence="see its page",
    url="https://retouch.grand-challenge.org/",
    patient_key="volume in the file name",
    citation="Bogunovic et al., RETOUCH: The Retinal OCT Fluid Detection and Segmentation Benchmark, IEEE TMI 2019",
    read=read,
    space=Space(lesions=tuple(FLUIDS)),
)
