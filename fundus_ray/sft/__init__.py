"""Warm start on reasoning traces: writes the base weights of policy version 0."""
