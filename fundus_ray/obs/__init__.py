"""What the run did: spans, metrics that merge over workers, the run folder, the report."""
