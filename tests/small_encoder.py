"""Small encoders of several architectures with a tokenizer of words, and data for them: nothing has to be trained."""

import random

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, PreTrainedTokenizerFast

WORDS = [f"word{number}" for number in range(120)]
SPECIAL = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>"}
SIZE = len(WORDS) + len(SPECIAL)
COMMON = {"vocab_size": SIZE, "pad_token_id": 1, "max_position_embeddings": 100}
BERT = {**COMMON, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
CONFIGS = {
    "XLMRobertaConfig": {**BERT, "type_vocab_size": 1},
    "BertConfig": BERT,
    "DistilBertConfig": {**COMMON, "dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 64},
    "ElectraConfig": {**BERT, "embedding_size": 16},
    "AlbertConfig": {**BERT, "embedding_size": 16},
    "XLMConfig": {**COMMON, "emb_dim": 32, "n_layers": 3, "n_heads": 2, "pad_index": 1},
    "ModernBertConfig": {**BERT, "cls_token_id": 0, "sep_token_id": 2, "reference_compile": False},
}
"""Class of the configuration -> a small one; ModernBERT is newer than the oldest transformers."""
KINDS = [name for name in CONFIGS if hasattr(transformers, name)]


def save_encoder(folder, kind="XLMRobertaConfig", **changes):
    """Write a random encoder, without any head, and its tokenizer."""
    torch.manual_seed(1)
    AutoModel.from_config(getattr(transformers, kind)(**{**CONFIGS[kind], **changes})).save_pretrained(folder)
    names = [*SPECIAL.values(), *WORDS]
    made = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=98, **SPECIAL).save_pretrained(folder)
    return folder


def change_weights(folder, name, change):
    """Change a weight of a saved model in place."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors[name])
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def sentences(count, seed):
    """Return sentences of three to nine words."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(3, 9))) for _ in range(count)]


def save_verses(folder, tags=("deu_Latn", "rus_Cyrl"), count=30):
    """Write ``sr_bible`` with English and some others."""
    (folder / "sr_bible").mkdir(parents=True)
    for seed, tag in enumerate(["eng_Latn", *tags]):
        rows = "".join(f"{number}\t{text}\n" for number, text in enumerate(sentences(count, seed)))
        (folder / "sr_bible" / f"{tag}.txt").write_text(rows)
    return folder


def save_topics(folder, tags=("deu_Latn", "rus_Cyrl"), count=48):
    """Write ``sib200`` with two topics that depend on the first word; only English has training data."""
    for seed, tag in enumerate(["eng_Latn", *tags]):
        (folder / "sib200" / tag).mkdir(parents=True)
        for split in ("train", "dev", "test") if tag == "eng_Latn" else ("test",):
            rows = ["index_id\tcategory\ttext"]
            for number, text in enumerate(sentences(count, f"{seed} {split}")):
                topic = "odd" if int(text.split()[0][4:]) % 2 else "even"
                rows.append(f"{number}\t{topic}\t{text}")
            (folder / "sib200" / tag / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    return folder
