"""From scored groups to a better policy: advantages, batch, loss, and the worker that updates the adapter."""
