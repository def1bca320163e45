"""A tiny Qwen2.5-VL made on the spot: same classes, special tokens, chat template and processor as the real one.

In: texts for the tokenizer, image statistics, a seed. Out: a checkpoint folder that `transformers` and vLLM load like
any Qwen2.5-VL checkpoint, so that a real one runs through the same code by changing a path.

Sizes are those of the smallest network that learned to read rendered lesions here (about 2.5 M parameters).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

VOCABULARY = 1024  # byte alphabet + merges, before the special tokens

# Qwen2.5-VL's own special tokens, in its own order
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

# Qwen2.5-VL's chat format: system turn by default, one image placeholder between the vision marks
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tiny_policy(
    folder: Path,
    *,
    texts: Iterable[str],
    phrases: Iterable[str],
    image_px: int,
    image_mean: Sequence[float],
    image_std: Sequence[float],
    seed: int,
    words: Iterable[str] = (),
) -> None:
    """Write a randomly initialised checkpoint to `folder`.

    `texts` train the tokenizer; each of `phrases` (options, names of findings) becomes one token, with the space before
    it as it stands in running text, and each of `words` as it is.

    `image_mean`, `image_std`: per RGB channel in [0, 1], of the images it will see.
    """
    tokenizer = _train_tokenizer(texts)
    # A real vocabulary needs two or three tokens a name; at this size a name of one token is what makes finding its
    # letter, or naming what is seen, learnable within a minute.
    whole = [*(f" {phrase}" for phrase in sorted(set(phrases))), *sorted(set(words))]
    tokenizer.add_tokens([AddedToken(one, normalized=False) for one in whole])
    config = _config(tokenizer)
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    )
    model.save_pretrained(folder)
    pixels = image_px * image_px
    size = {"shortest_edge": 28 * 28, "longest_edge": pixels}
    image = Qwen2VLImageProcessor(size=size, image_mean=list(image_mean), image_std=list(image_std))
    Qwen2_5_VLProcessor(
        image_processor=image, tokenizer=tokenizer, video_processor=Qwen2VLVideoProcessor(), chat_template=CHAT_TEMPLATE
    ).save_pretrained(folder)


def _train_tokenizer(texts: Iterable[str]) -> Qwen2Tokenizer:
    """Byte-level BPE with Qwen2's own pre-tokenisation, trained on the project's own texts."""
    raw = Tokenizer(models.BPE())
    raw.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated")
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    raw.train_from_iterator(texts, trainer)
    vocab = raw.get_vocab()
    merges = [tuple(pair) for pair in json.loads(raw.to_str())["model"]["merges"]]
    tokenizer = Qwen2Tokenizer(
        vocab={**vocab, "<|endoftext|>": len(vocab)},
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS),
        model_max_length=32768,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _config(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLConfig:
    ids = {name: int(tokenizer.convert_tokens_to_ids(name)) for name in SPECIAL_TOKENS}
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": (len(tokenizer) + 63) // 64 * 64,
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 3,
            "max_position_embeddings": 4096,
            "initializer_range": 0.05,  # with the usual 0.02 a network this narrow learned nothing in minutes
            "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0},
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_heads": 3,
            "out_hidden_size": 192,
            "fullatt_block_indexes": [0, 1, 2],
            "window_size": 112,
            "initializer_range": 0.05,
        },
        tie_word_embeddings=True,
        initializer_range=0.05,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        eos_token_id=ids["<|im_end|>"],
        pad_token_id=ids["<|endoftext|>"],
    )
