"""Samples on disk, for sets of any size: Parquet shards, images by reference, and a manifest that makes them one whole.

    rows.py (a row) -> write.py -> STORE/{train,eval}-00000.parquet ..., benchmarks.parquet, manifest.json
    read.py (samples by position, in little memory), ray_dataset.py (all of them, by many workers)

A store lies on a local disk, on NFS or in an object store: see data/places.py.
"""
