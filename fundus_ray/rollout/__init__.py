"""Groups of chains on their way from prompt to learner: the slot buffer, and the worker around a vLLM engine."""
