"""A discrete-event simulator of the RLVR loop: what other numbers of workers and other ratios would give."""
