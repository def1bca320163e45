"""Who says whether knowledge bears out a stated relation: records and passages, a cross-encoder, a language model."""
