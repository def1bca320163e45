"""Public images and labels in, `Sample`s out: rendered phantoms, views of one photograph, or a user's JSONL."""
