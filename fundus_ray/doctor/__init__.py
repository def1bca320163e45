"""What a run needs, looked up before anything slow starts: `fundus-ray doctor`, and the first stage of `train`.

config -> question -> node_report.py on every machine -> answers
                                                             │
shapes.py -> estimate.py (memory), places.py (placement) ──► checks -> findings -> one table
"""
