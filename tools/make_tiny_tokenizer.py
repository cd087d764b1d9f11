"""Makes the tokenizer and the configuration files of the tiny model.

Versions: Python 3.11, tokenizers 0.22.2. Commands:
  dvlm synth --out build/tokenizer-text --count 20000 --seed 1000 --no-images
  python tools/make_tiny_tokenizer.py build/tokenizer-text/data.jsonl examples/tiny/model

A byte-level BPE with Qwen2's normaliser and pre-tokeniser, trained on the questions and answers of the given
data set and on tools/tiny_english.txt. 256 bytes, 745 merges and 23 added tokens make 1024 ids. Prints the
mean number of tokens per question type.
"""

import collections
import json
import pathlib
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

VOCAB_SIZE = 1024
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = [
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
]
NOT_SPECIAL = [
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
]
MASK = "|<MASK>|"
ADDED = [(text, True) for text in SPECIAL] + [(text, False) for text in NOT_SPECIAL] + [(MASK, True)]


def turns_of(path):
    """Yields (type, question, answer) of every turn of a data set of conversations."""
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            sample = json.loads(line)
            messages = sample["messages"]
            for kind, user, assistant in zip(sample["types"], messages[::2], messages[1::2]):
                yield kind, user["content"][-1]["text"], assistant["content"]


def training_text(turns, english):
    for _, question, answer in turns:
        yield question
        yield answer
    # Enough weight that ordinary words win merges, little enough that every word of the scenes does.
    for _ in range(4):
        yield from english
    # What the chat template adds to every prompt.
    for _ in range(1000):
        yield from ("system\n", "user\n", "assistant\n", "You are a helpful assistant.")


def train(turns, english):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    byte_level = dict(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(**byte_level),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel(**byte_level)
    tokenizer.post_processor = processors.ByteLevel(**byte_level)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - len(ADDED),
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_text(turns, english), trainer)
    assert tokenizer.get_vocab_size() == VOCAB_SIZE - len(ADDED), tokenizer.get_vocab_size()
    for text, special in ADDED:
        token = AddedToken(text, special=special, normalized=False)
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([token])
    assert tokenizer.get_vocab_size() == VOCAB_SIZE
    return tokenizer


def write_json(path, content):
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def token_object(text, special):
    return dict(content=text, lstrip=False, normalized=False, rstrip=False, single_word=False, special=special)


def write_tokenizer_files(folder, tokenizer):
    tokenizer.save(str(folder / "tokenizer.json"), pretty=True)
    write_json(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": False,
            "add_prefix_space": False,
            "added_tokens_decoder": {str(tokenizer.token_to_id(t)): token_object(t, s) for t, s in ADDED},
            "additional_special_tokens": [MASK],
            "bos_token": None,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "errors": "replace",
            "model_max_length": 4096,
            "pad_token": "<|endoftext|>",
            "processor_class": "Qwen2_5_VLProcessor",
            "split_special_tokens": False,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        },
    )
    named = {
        "additional_special_tokens": [MASK],
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
    }
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    write_json(
        folder / "special_tokens_map.json",
        {k: [dict(content=t, **plain) for t in v] if isinstance(v, list) else dict(content=v, **plain) for k, v in named.items()},
    )


def write_model_configs(folder, tokenizer):
    def ident(text):
        return tokenizer.token_to_id(text)

    text = {
        "model_type": "fast_dvlm_for_causal_lm",
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [8, 12, 12]},
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "use_cache": True,
        "initializer_range": 0.05,
        "bos_token_id": ident("<|endoftext|>"),
        "eos_token_id": ident("<|im_end|>"),
        "pad_token_id": ident("<|endoftext|>"),
    }
    vision = {
        "model_type": "fast_dvlm",
        "depth": 4,
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_heads": 4,
        "out_hidden_size": 256,
        "in_chans": 3,
        "in_channels": 3,
        "patch_size": 14,
        "spatial_patch_size": 14,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "window_size": 112,
        "fullatt_block_indexes": [1, 3],
        "tokens_per_second": 2,
        "hidden_act": "silu",
        "initializer_range": 0.07,
    }
    write_json(
        folder / "config.json",
        {
            "architectures": ["Fast_dVLMForConditionalGeneration"],
            "model_type": "fast_dvlm",
            "bd_size": 32,
            "minimum_noise_level": 1e-3,
            "tie_word_embeddings": True,
            "image_token_id": ident("<|image_pad|>"),
            "video_token_id": ident("<|video_pad|>"),
            "vision_start_token_id": ident("<|vision_start|>"),
            "vision_end_token_id": ident("<|vision_end|>"),
            "vision_token_id": ident("<|vision_pad|>"),
            "bos_token_id": ident("<|endoftext|>"),
            "eos_token_id": ident("<|im_end|>"),
            "pad_token_id": ident("<|endoftext|>"),
            "torch_dtype": "bfloat16",
            "text_config": text,
            "vision_config": vision,
        },
    )
    write_json(
        folder / "preprocessor_config.json",
        {
            "min_pixels": 39200,
            "max_pixels": 56448,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
        },
    )
    write_json(
        folder / "generation_config.json",
        {
            "bos_token_id": ident("<|endoftext|>"),
            "eos_token_id": [ident("<|im_end|>"), ident("<|endoftext|>")],
            "pad_token_id": ident("<|endoftext|>"),
            "do_sample": False,
        },
    )


def report(tokenizer, turns):
    questions, answers = collections.defaultdict(list), collections.defaultdict(list)
    for kind, question, answer in turns:
        questions[kind].append(len(tokenizer.encode(question).ids))
        answers[kind].append(len(tokenizer.encode(answer).ids))
    print(f"{'type':10} {'turns':>7} {'question':>9} {'answer':>7} {'min':>5} {'max':>5}")
    for kind in sorted(questions, key=lambda k: sum(answers[k]) / len(answers[k])):
        q, a = questions[kind], answers[kind]
        print(f"{kind:10} {len(q):7} {sum(q) / len(q):9.1f} {sum(a) / len(a):7.1f} {min(a):5} {max(a):5}")


def main():
    data, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    english = (pathlib.Path(__file__).parent / "tiny_english.txt").read_text(encoding="utf-8").splitlines()
    turns = list(turns_of(data))
    tokenizer = train(turns, english)
    write_tokenizer_files(folder, tokenizer)
    write_model_configs(folder, tokenizer)
    report(tokenizer, turns)
    words = " ".join(english)
    print(f"plain English: {len(words.encode()) / len(tokenizer.encode(words).ids):.2f} bytes per token")


if __name__ == "__main__":
    main()
