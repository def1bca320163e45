"""The three benchmarks of the paper, scored as their authors score them.

benchmark on disk -> Question(s) + stored answers -> letters -> Verdict(s) -> scores, tables, a line a question. No
network runs here: an answer is a text that somebody else made.
"""
