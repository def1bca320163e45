"""Rendered images with everything known of them: teaching drawings, not medical data.

phantoms.py         six diseases of a photograph, which the quickstart learns        (eye.py, lesions.py)
cfp.py, uwf.py      graded photographs, usual and ultra-wide                         (eye.py, marks.py, ...)
oct.py              B-scans through the macula                                       (layers.py, scan.py)
photo.py            views of one real photograph; photo_lesions.py: lesions laid on it
kinds.py            cfp, oct, uwf, photo: one function each, seed -> `Drawn`
rows.py             `Drawn` -> files and `Labelled`;  benchmark.py: questions of them in FunBench's files
sheet.py            contact sheets, to look at
"""
