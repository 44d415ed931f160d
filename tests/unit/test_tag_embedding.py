import pytest
import torch

from langsamp_plugin.modules.tag_embedding import TagEmbedding, decode_codes, encode_codes, move_rows


def test_lookup_and_unknown():
    table = TagEmbedding(["eng", "deu", "zul"], 4)
    ids = torch.tensor([2, -1, 0])
    out = table(ids)
    assert torch.equal(out[0], table.weight[2]) and torch.equal(out[2], table.weight[0])
    assert torch.equal(out[1], torch.zeros(4))
    out.sum().backward()
    assert table.weight.grad.tolist() == [[1.0] * 4, [0.0] * 4, [1.0] * 4], "the unknown id gives row 0 no gradient"


@pytest.mark.parametrize("wrong", [3, -2])
def test_ids_out_of_range(wrong):
    with pytest.raises(ValueError, match=r"ids must be < 3.*langsamp info"):
        TagEmbedding(["eng", "deu", "zul"], 4)(torch.tensor([0, wrong]))


def test_initialisation():
    torch.manual_seed(1)
    weight = TagEmbedding([f"{chr(97 + i // 26)}{chr(97 + i % 26)}a" for i in range(600)], 768).weight
    assert abs(weight.std().item() - 0.02) < 1e-4 and abs(weight.mean().item()) < 1e-4


def test_initialisation_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    lang, script = TagEmbedding(["eng", "deu"], 8), TagEmbedding(["Latn", "Cyrl"], 8)
    assert torch.equal(torch.rand(3), expected)
    assert not torch.equal(lang.weight, script.weight)
    torch.manual_seed(6)
    assert not torch.equal(TagEmbedding(["eng", "deu"], 8).weight, lang.weight)


def test_codes_survive_half_precision_and_averaging():
    codes = ["eng", "deu", "zul"]
    table = TagEmbedding(codes, 2).half()
    assert decode_codes(table.codes) == codes
    # fairseq's average_checkpoints sums and divides whole numbers with //.
    assert decode_codes((encode_codes(codes) * 7) // 7) == codes
    assert encode_codes([]).shape[0] == 0


def test_rows_follow_their_codes():
    old, new = torch.arange(6.0).view(3, 2), torch.full((4, 2), 9.0)
    moved, report = move_rows(old, ["eng", "deu", "zul"], new, ["zul", "abk", "eng", "fin"])
    assert moved.tolist() == [[4, 5], [9, 9], [0, 1], [9, 9]]
    assert report == (["zul", "eng"], ["abk", "fin"], ["deu"])
    assert new.tolist() == [[9, 9]] * 4


def test_new_rows_by_choice():
    old, new = torch.arange(6.0).view(3, 2), torch.full((2, 2), 9.0)
    assert move_rows(old, ["eng", "deu", "zul"], new, ["abk", "eng"], "mean")[0].tolist() == [[2, 3], [0, 1]]
    assert move_rows(old, ["eng", "deu", "zul"], new, ["abk", "eng"], donors={"abk": "deu"})[0].tolist() == [
        [2, 3],
        [0, 1],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"init": "zero"}, "random or mean"),
        ({"donors": {"abk": "fra"}}, "donor fra"),
        ({"donors": {"xho": "deu"}}, "xho, which is to start as deu"),
    ],
)
def test_wrong_choices(arguments, message):
    with pytest.raises(ValueError, match=message):
        move_rows(torch.zeros(2, 2), ["eng", "deu"], torch.zeros(2, 2), ["abk", "eng"], **arguments)
