"""Rendered images with everything known of them: teaching drawings, not medical data.

phantoms.py       six diseases of a photograph, which the quickstart learns (eye.py, lesions.py)
cases.py          a disease, its grade or stage, and how each of its findings is painted (marks.py, patches.py)
cfp.py, uwf.py    such cases on a drawn eye, usual (eye.py) or ultra-wide-field (wide_eye.py)
oct.py            B-scans through the macula (layers.py, scan.py, oct_signs.py)
photo.py          views of one real photograph; photo_lesions.py: cases laid on it
kinds.py          cfp, oct, uwf, photo: one function each, seed -> `Drawn`
rows.py           `Drawn` -> files and `Labelled`; benchmark.py: FunBench's files of them; sets.py: both halves
sheet.py          contact sheets, to look at
"""
