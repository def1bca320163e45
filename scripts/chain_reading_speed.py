"""How long the reader takes for texts of growing length: a line for each sort of text, the milliseconds of CPU time
for each length.

Linear means: four times the text, four times the time. Each figure is the best of a few readings.

    python scripts/chain_reading_speed.py
"""

from __future__ import annotations

import time

from fundus_ray.knowledge.vocabulary import Vocabulary, load_vocabulary
from fundus_ray.reasoning.steps import read_chain

KILOBYTES = (1, 4, 16, 64, 256)
REPEATS = 3
# Each is repeated to the length asked for; what stands behind the bar comes once, at the end.
TEXTS = {
    "a clinical report": (
        "The right eye shows two cotton wool spots and mild venous beading along the superior arcade. There is no "
        "neovascularisation, which argues against proliferative disease, but hard exudates near the fovea may indicate "
        "diabetic macular oedema. The optic disc is pink with sharp margins and a small cup. Follow-up in six months. "
    ),
    "many 'no'": "no ",
    "many 'would'": "drusen, would ",
    "many tags": "<think></answer><answer></think>",
    "many answers": "<answer>B</answer>",
    "many mentions": "drusen, ",
    "many cues": "drusen and exudates are absent, ",
    "many relations": "drusen suggest AMD ",
    "relations, one sentence": "microaneurysms and exudates suggest diabetic retinopathy, ",
    "many headings": "Findings: Required: Conclusion: ",
    "roles, no full stop": "Required: drusen |Conclusion: AMD",
    "many eyes": "OD: drusen OS ",
    "many questions": "drusen? ",
    "abbreviations alone": "RD?",
    "many shared nouns": "soft, hard, large and medium drusen ",
    "much of the past": "history of drusen, previous drusen ",
    "half a phrase": "flame-shaped nerve fibre layer ",
    "digits": "7 ",
    "blanks": " ",
    "line ends": "\n",
    "one long word": "a",
    "punctuation": "?(-:,.",
}


def main() -> None:
    """Print the table."""
    vocabulary = load_vocabulary()
    read_chain("warm", vocabulary)
    print(f"{'CPU ms for KB':<26}" + "".join(f"{kb:>8}" for kb in KILOBYTES) + f"{'x for x4':>10}")
    for name, unit in TEXTS.items():
        times = []
        for kb in KILOBYTES:
            again, _, once = unit.partition("|")
            text = again * (kb * 1024 // len(again)) + once
            best = min(_seconds(text, vocabulary) for _ in range(REPEATS))
            times.append(best * 1000)
        print(f"{name:<26}" + "".join(f"{ms:>8.1f}" for ms in times) + f"{times[-1] / times[-2]:>10.1f}", flush=True)


def _seconds(text: str, vocabulary: Vocabulary) -> float:
    start = time.process_time()
    read_chain(text, vocabulary)
    return time.process_time() - start


if __name__ == "__main__":
    main()
