"""Any encoder of transformers, as its folder is: architectures, precision, heads, and the pieces of words."""

import pytest
import torch
from small_encoder import KINDS, WORDS, change_weights, save_encoder, sentences
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModel, PreTrainedTokenizerFast

from langsamp_plugin.evaluation.encoding import load_encoder, load_tokenizer, mean_pooled
from langsamp_plugin.evaluation.examples import encode, word_pieces
from langsamp_plugin.evaluation.finetuning import new_model
from langsamp_plugin.evaluation.reading.labelled import Labelled

LABELS = ["a", "b", "c"]


@pytest.mark.parametrize("kind", KINDS)
def test_architectures(tmp_path, kind):
    """A missing new head is not a fault of the folder, for any names of the head's layers."""
    save_encoder(tmp_path / "base", kind)
    model, tokenizer = load_encoder(tmp_path / "base", torch.device("cpu"))
    vectors, cut = mean_pooled(sentences(5, 0), model, tokenizer, [0, 2])
    assert vectors.shape == (2, 5, 32) and cut == 0
    for task in ("classification", "tagging"):
        tuned = new_model(str(tmp_path / "base"), task, LABELS, seed=1)
        ids = torch.tensor([[0, 5, 6, 2]])
        assert tuned(ids, attention_mask=torch.ones_like(ids)).logits.shape[-1] == len(LABELS)
        backbone = AutoModel.from_pretrained(tmp_path / "base").state_dict()
        prefix = f"{tuned.base_model_prefix}."
        shared = {name: weight for name, weight in tuned.state_dict().items() if name.startswith(prefix)}
        assert all(torch.equal(weight, backbone[name[len(prefix) :]]) for name, weight in shared.items()) and shared


def test_a_backbone_with_a_weight_missing_is_refused(tmp_path):
    """The control: random weights below the head are never taken for a model."""
    from safetensors.torch import load_file, save_file

    folder = save_encoder(tmp_path / "base", "DistilBertConfig")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if "layer.1.attention.q_lin.weight" in name)
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    for load in (lambda: load_encoder(folder), lambda: new_model(str(folder), "classification", LABELS, 1)):
        with pytest.raises(ValueError, match=r"lacks 1 weights that config.json asks for: .*layer.1.attention.q_lin"):
            load()


@pytest.mark.parametrize("kind", ["XLMRobertaConfig", "DistilBertConfig"])
@pytest.mark.parametrize("task", ["classification", "tagging"])
def test_the_head_of_a_fine_tuned_model_is_not_taken(tmp_path, kind, task):
    """With as many labels as before and with others; the head depends on the seed alone, the backbone is kept."""
    tuned = new_model(str(save_encoder(tmp_path / "base", kind)), task, LABELS, 1)
    prefix = f"{tuned.base_model_prefix}."
    with torch.no_grad():
        for weight in tuned.parameters():
            weight.fill_(0.25)
    tuned.save_pretrained(tmp_path / "tuned")
    load_tokenizer(tmp_path / "base").save_pretrained(tmp_path / "tuned")
    again, other, more = (
        new_model(str(tmp_path / "tuned"), task, labels, seed)
        for labels, seed in ((LABELS, 1), (LABELS, 2), ([*LABELS, "d"], 1))
    )
    heads = [name for name, _ in again.named_parameters() if not name.startswith(prefix) and name.endswith("weight")]
    assert heads and all(not (again.state_dict()[name] == 0.25).any() for name in heads)
    assert any(not torch.equal(again.state_dict()[name], other.state_dict()[name]) for name in heads)
    assert any(weight.shape[0] == 4 for name, weight in more.named_parameters() if not name.startswith(prefix))
    assert all((weight == 0.25).all() for name, weight in again.named_parameters() if name.startswith(prefix))


def test_a_half_precision_folder_is_scored_in_float32(tmp_path):
    """transformers 5 loads the stored type: features would depend on how the folder was exported."""
    folder = save_encoder(tmp_path / "base")
    model, tokenizer = load_encoder(folder, torch.device("cpu"))
    whole = mean_pooled(sentences(20, 0), model, tokenizer, [2])[0]
    AutoModel.from_pretrained(folder).half().save_pretrained(folder)
    model, _ = load_encoder(folder, torch.device("cpu"))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert {weight.dtype for weight in new_model(str(folder), "tagging", LABELS, 1).parameters()} == {torch.float32}
    assert abs(mean_pooled(sentences(20, 0), model, tokenizer, [2])[0] - whole).max() < 2e-3
    # What overflows float16 on the way, and not float32, is scored.
    change_weights(folder, "encoder.layer.0.output.LayerNorm.weight", lambda weight: weight.fill_(60_000.0))
    assert torch.isfinite(
        torch.from_numpy(mean_pooled(sentences(5, 0), load_encoder(folder)[0], tokenizer, [2])[0])
    ).all()


def byte_level(add_prefix_space):
    """A byte-level BPE tokenizer, as RoBERTa's and ModernBERT's are."""
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
    )  # fmt: skip
    made.train_from_iterator(["the cat sat on the mat with the hat", "that rat ate the cat's oats"] * 20, trainer)
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    made.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, cls_token="<s>", pad_token="<pad>", sep_token="</s>", unk_token="<unk>",
        add_prefix_space=add_prefix_space,  # transformers 4 sets it to False where it is not given
    )  # fmt: skip


@pytest.mark.parametrize("add_prefix_space", [False, True])
def test_words_of_byte_level_tokenizers_have_the_space_before_them(add_prefix_space):
    """The pieces are those of pre-split words with ``add_prefix_space=True``, which a text has inside a sentence."""
    tokenizer, reference = byte_level(add_prefix_space), byte_level(True)
    words = ["the", "cat", "that", "oats", "zebra", "mat"]
    expected = reference(words, is_split_into_words=True)["input_ids"]
    (example,) = encode(Labelled([words], [["a"] * 6]), tokenizer, ["a"], "tagging", 90).examples
    assert example.ids == expected
    assert expected[1:-1] == tokenizer(" the cat that oats zebra mat", add_special_tokens=False)["input_ids"]
    bare = [piece for word in words for piece in byte_level(False)(word, add_special_tokens=False)["input_ids"]]
    assert bare != expected[1:-1], "the control: without the space before it a word has other pieces"


def test_words_of_other_tokenizers_are_as_they_are(tmp_path):
    tokenizer = load_tokenizer(save_encoder(tmp_path))
    assert word_pieces({WORDS[0], "unseen"}, tokenizer) == {WORDS[0]: [4], "unseen": [3]}
