"""The architecture (LLaVA: a CLIP tower of 4 layers, a Llama of 3, width 128), its tokenizer and its processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rows import BOS, EOS, IDS, IMAGE, IMAGE_TOKENS, TOKENS
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from safemlrm.models.embedded_runtime import CONTEXT, SIDE

WIDTH, PATCH = 128, 16
CHAT_TEMPLATE = (
    "{{ '<bos> ' }}{% set ns = namespace(before='') %}{% for m in messages %}"
    "{% if m['content'] is string %}{% set said = m['content'] %}{% set pictures = 0 %}{% else %}"
    "{% set said = m['content'] | selectattr('type', 'equalto', 'text') | map(attribute='text') | join(' ') %}"
    "{% set pictures = m['content'] | selectattr('type', 'equalto', 'image') | list | length %}{% endif %}"
    "{% if m['role'] == 'system' %}{% set ns.before = ns.before ~ said ~ ' ' %}"
    "{% elif m['role'] == 'user' %}{{ '<user> ' }}{% for _ in range(pictures) %}{{ '<image> ' }}{% endfor %}"
    "{{ ns.before ~ said ~ ' ' }}{% set ns.before = '' %}"
    "{% else %}{{ '<assistant> ' ~ said ~ ' <eos> ' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant> ' }}{% endif %}"
)


def new_model() -> LlavaForConditionalGeneration:
    """A fresh model; the caller seeds torch."""
    vision = CLIPVisionConfig(
        hidden_size=WIDTH, intermediate_size=3 * WIDTH, num_hidden_layers=4, num_attention_heads=4,
        image_size=SIDE, patch_size=PATCH, projection_dim=WIDTH,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=len(TOKENS), hidden_size=WIDTH, intermediate_size=3 * WIDTH, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=CONTEXT,
        pad_token_id=0, bos_token_id=BOS, eos_token_id=EOS, tie_word_embeddings=False,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE, vision_feature_layer=-1,
        vision_feature_select_strategy="default", image_seq_length=IMAGE_TOKENS,
    )  # fmt: skip
    return LlavaForConditionalGeneration(config)


def tokenizer() -> Any:
    """The word tokenizer (a `tokenizers.Tokenizer`): lower-cases, cuts punctuation off, unknown words become <unk>."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

    made = Tokenizer(models.WordLevel(IDS, unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), behavior="removed", invert=True)
    made.add_special_tokens(["<pad>", "<bos>", "<eos>", "<unk>", "<image>", "<user>", "<assistant>"])
    made.add_tokens([AddedToken(t, special=False, normalized=False) for t in ("<think>", "</think>")])
    return made


def save(model: LlavaForConditionalGeneration, folder: Path) -> None:
    """Write a transformers checkpoint (fp16 safetensors, tokenizer, processor, chat template)."""
    from transformers import CLIPImageProcessorPil, LlavaProcessor, PreTrainedTokenizerFast

    words = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(), pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>",
        extra_special_tokens=["<image>", "<user>", "<assistant>"], padding_side="left",
    )  # fmt: skip
    images = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, image_mean=[1.0] * 3,
        image_std=[0.5] * 3,
    )  # fmt: skip
    processor = LlavaProcessor(
        image_processor=images, tokenizer=words, patch_size=PATCH, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, image_token="<image>", chat_template=CHAT_TEMPLATE,
    )  # fmt: skip
    half = {name: weight.to(torch.float16) for name, weight in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=half)
    processor.save_pretrained(folder)
