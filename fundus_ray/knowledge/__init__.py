"""What is known of eye disease: vocabulary of findings, domain-knowledge records, passages and their search index."""
