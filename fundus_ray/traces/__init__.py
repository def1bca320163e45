"""Reasoning traces for samples that carry only labels."""
