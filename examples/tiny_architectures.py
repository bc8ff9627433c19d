"""Tiny configurations of transformers' classifiers: one mapping of `AutoConfig.for_model` fields an architecture.

Sizes are the smallest at which every part of an architecture is there: two blocks or stages, heads that can be halved,
shared keys and values where the architecture has them.
"""

from __future__ import annotations

from typing import Any

# [PAD], [UNK], [CLS], [SEP] and [MASK] of the tokenizer come first.
TOKENS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
COMMON = {"vocab_size": 40, "max_position_embeddings": 64, **TOKENS}
ENCODER = COMMON | {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
DECODER = ENCODER | {"num_key_value_heads": 2, "head_dim": 8}
VIT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
STAGES = {"hidden_sizes": [16, 32], "depths": [1, 1]}
SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4}

TEXT: dict[str, dict[str, Any]] = {
    "bert": ENCODER,
    "distilbert": COMMON | {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
    "roberta": ENCODER,
    "xlm-roberta": ENCODER,
    "camembert": ENCODER,
    "albert": ENCODER | {"embedding_size": 16},
    "electra": ENCODER | {"embedding_size": 16},
    "deberta": ENCODER | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 32},
    "deberta-v2": ENCODER
    | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 16, "share_att_key": True,
       "norm_rel_ebd": "layer_norm", "position_biased_input": False},
    "mobilebert": ENCODER
    | {"embedding_size": 16, "intra_bottleneck_size": 16, "hidden_size": 32, "true_hidden_size": 16,
       "num_feedforward_networks": 2},
    "modernbert": ENCODER
    | {"num_hidden_layers": 4, "global_attn_every_n_layers": 2, "local_attention": 8, "cls_token_id": 2,
       "sep_token_id": 3},
    "longformer": ENCODER | {"attention_window": [8, 8]},
    "funnel": {"vocab_size": 40, "block_sizes": [1, 1], "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 64},
    "nystromformer": ENCODER | {"num_landmarks": 16, "segment_means_seq_len": 16},
    "mpnet": ENCODER,
    "squeezebert": ENCODER | {"embedding_size": 32},
    "convbert": ENCODER | {"embedding_size": 32, "head_ratio": 2, "conv_kernel_size": 3},
    "roformer": ENCODER | {"embedding_size": 32},
    "rembert": ENCODER | {"input_embedding_size": 16, "output_embedding_size": 16},
    "fnet": COMMON | {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64},
    "xlnet": TOKENS | {"vocab_size": 40, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64},
    "big_bird": ENCODER | {"attention_type": "original_full", "block_size": 4},
    "llama": DECODER,
    "mistral": DECODER,
    "qwen2": DECODER,
    "qwen3": DECODER,
    "gemma": DECODER,
    "gemma2": DECODER | {"sliding_window": 8, "query_pre_attn_scalar": 8},
    "gemma3_text": DECODER | {"sliding_window": 8, "query_pre_attn_scalar": 8},
    "phi": DECODER,
    "phi3": DECODER,
    "gpt_neox": ENCODER,
    "bloom": TOKENS | {"vocab_size": 40, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "gpt2": TOKENS | {"vocab_size": 40, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "opt": COMMON
    | {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64, "word_embed_proj_dim": 32},
    "smollm3": DECODER,
    "olmo2": DECODER,
    "mixtral": DECODER | {"num_local_experts": 2, "num_experts_per_tok": 1},
    "qwen3_moe": DECODER | {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32},
    "deepseek_v3": ENCODER
    | {"num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
       "v_head_dim": 8, "n_routed_experts": 2, "num_experts_per_tok": 1, "n_group": 1, "topk_group": 1,
       "n_shared_experts": 1, "moe_intermediate_size": 32, "first_k_dense_replace": 1},
    "t5": TOKENS
    | {"vocab_size": 40, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
       "decoder_start_token_id": 0},
    "bart": COMMON
    | {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1},
       "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
       "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "decoder_start_token_id": 3},
}  # fmt: skip

IMAGE: dict[str, dict[str, Any]] = {
    "resnet": STAGES | {"embedding_size": 16, "layer_type": "basic"},
    "mobilenet_v1": {"depth_multiplier": 0.25, "image_size": 32},
    "mobilenet_v2": {"depth_multiplier": 0.25, "image_size": 32},
    "efficientnet": {"image_size": 32, "width_coefficient": 0.25, "depth_coefficient": 0.5, "hidden_dim": 320},
    "convnext": STAGES | {"num_stages": 2, "patch_size": 4},
    "convnextv2": STAGES | {"num_stages": 2, "patch_size": 4},
    "regnet": STAGES | {"embedding_size": 16, "groups_width": 8},
    "vit": VIT,
    "deit": VIT,
    "beit": VIT | {"use_relative_position_bias": True},
    "dinov2": VIT | {"mlp_ratio": 2},
    "swin": SWIN,
    "swinv2": SWIN,
    "mobilevit": {
        "image_size": 64, "hidden_sizes": [16, 16, 16], "neck_hidden_sizes": [8, 8, 16, 16, 16, 16, 32],
        "num_attention_heads": 2,
    },
    "mobilevitv2": {"image_size": 64, "width_multiplier": 0.25, "n_attn_blocks": [1, 1, 1]},
    "poolformer": {
        "hidden_sizes": [16, 32], "depths": [1, 1], "num_encoder_blocks": 2, "patch_sizes": [7, 3], "strides": [4, 2],
        "padding": [2, 1],
    },
    "pvt_v2": {
        "hidden_sizes": [16, 32], "depths": [1, 1], "num_encoder_blocks": 2, "num_attention_heads": [2, 4],
        "sr_ratios": [2, 1], "mlp_ratios": [2, 2], "patch_sizes": [7, 3], "strides": [4, 2], "image_size": 32,
    },
    "levit": {
        "image_size": 64, "hidden_sizes": [16, 32, 48], "num_attention_heads": [2, 2, 2], "depths": [1, 1, 1],
        "key_dim": [8, 8, 8], "drop_path_rate": 0,
    },
    "segformer": {
        "hidden_sizes": [16, 32], "depths": [1, 1], "num_encoder_blocks": 2, "num_attention_heads": [2, 4],
        "sr_ratios": [2, 1], "mlp_ratios": [2, 2], "patch_sizes": [7, 3], "strides": [4, 2],
    },
    "bit": STAGES | {"embedding_size": 32, "num_groups": 8},
    "focalnet": {
        "image_size": 32, "patch_size": 4, "embed_dim": 16, "hidden_sizes": [16, 32], "depths": [1, 1],
        "focal_levels": [2, 2], "focal_windows": [3, 3],
    },
    "siglip": {"vision_config": VIT, "text_config": ENCODER},
    "clip": {"vision_config": VIT, "text_config": ENCODER, "projection_dim": 32},
}  # fmt: skip
