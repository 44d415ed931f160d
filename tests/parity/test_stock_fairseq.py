"""The invariants against stock fairseq (design: 1 to 4), each with a control that must fail."""

import pytest
import torch
from stock_models import losses, make_batch, ours, same_weights, stock, stock_loss
from support import Task

from langsamp_plugin.criterions.langsamp_masked_lm import LangSampMaskedLMCriterion
from langsamp_plugin.lang_script import UNKNOWN_ID, LangScript, Tables


@pytest.fixture
def batch():
    return make_batch()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", ["after each block", "before each block"])
def test_features_are_stock_bit_for_bit(batch, training, norm):
    options = {} if norm.startswith("after") else {"encoder_normalize_before": True, "layernorm_embedding": False}
    reference, model = stock(**options), ours(seed=2, **options)
    same_weights(model, reference)
    reference.train(training), model.train(training)
    tokens = batch["net_input"]["src_tokens"]
    torch.manual_seed(3)
    expected, expected_extra = reference(tokens, features_only=True, return_all_hiddens=True)
    torch.manual_seed(3)
    features, extra = model(**batch["net_input"], features_only=True, return_all_hiddens=True)
    assert torch.equal(features, expected)
    assert all(torch.equal(a, b) for a, b in zip(extra["inner_states"], expected_extra["inner_states"]))
    torch.manual_seed(3)
    assert torch.equal(model.encoder.extract_features(tokens)[0], expected)
    # Control: with the tables at the input the features do depend on the tags.
    at_input = same_weights(ours(embed_tags_at="input", **options), reference).train(training)
    torch.manual_seed(3)
    assert not torch.allclose(at_input(**batch["net_input"], features_only=True)[0], expected, atol=1e-4)


@pytest.mark.parametrize("how", ["zeroed", "off", "no tables in the task", "unknown tags", "input zeroed"])
def test_loss_without_tables_is_stock(batch, how):
    reference = stock().eval()
    options = {"off": {"embed_tags": "none"}, "input zeroed": {"embed_tags_at": "input"}}.get(how, {})
    task = Task(tables=None) if how.startswith("no tables") else Task()
    model = same_weights(ours(task, **options), reference).eval()
    assert how != "off" or not [name for name, _ in model.named_parameters() if "lang" in name or "script" in name]
    if how.endswith("zeroed"):
        model.encoder.lang_embedding.weight.data.zero_()
        model.encoder.script_embedding.weight.data.zero_()
    if how == "unknown tags":
        batch["net_input"]["lang_ids"] = batch["net_input"]["script_ids"] = torch.full((5,), -1)
    loss, sample_size, _ = losses(model, batch)
    expected, expected_size, _ = stock_loss(reference, batch)
    assert torch.equal(loss, expected) and sample_size == expected_size


def test_loss_with_tables_is_not_stock(batch):
    reference = stock().eval()
    model = same_weights(ours(), reference).eval()
    model.encoder.lang_embedding.weight.data.mul_(20)
    assert (losses(model, batch)[0] - stock_loss(reference, batch)[0]).abs() > 1e-2


@pytest.mark.parametrize("noun", ["lang_ids", "script_ids"])
def test_a_tag_changes_its_sentence_at_masked_positions_and_nothing_else(batch, noun):
    model = ours().eval()
    masked = batch["target"].ne(1)
    before = model(**batch["net_input"], masked_tokens=masked)[0]
    every = model(**batch["net_input"])[0]
    features = model(**batch["net_input"], features_only=True)[0]
    changed = {**batch["net_input"], noun: batch["net_input"][noun].clone()}
    changed[noun][1] = 2 if noun == "lang_ids" else 0
    after = model(**changed, masked_tokens=masked)[0]
    row_of = masked.nonzero()[:, 0]
    assert (after[row_of == 1] != before[row_of == 1]).any(1).all()
    assert torch.equal(after[row_of != 1], before[row_of != 1])
    assert torch.equal(model(**changed, features_only=True)[0], features)
    # The gathered path is the full one at the masked positions.
    assert torch.allclose(every[masked], before, atol=1e-6)


@pytest.mark.parametrize(
    ("tables", "present"),
    [("both", (True, True)), ("lang", (True, False)), ("script", (False, True)), ("none", (False, False))],
)
def test_switches(batch, tables, present):
    model = ours(embed_tags=tables).eval()
    assert (model.encoder.lang_embedding is not None, model.encoder.script_embedding is not None) == present
    loss = losses(model, batch)[0]
    for noun, is_there in zip(("lang_ids", "script_ids"), present):
        other = {**batch, "net_input": {**batch["net_input"], noun: batch["net_input"][noun].roll(1)}}
        assert (losses(model, other)[0] != loss) == is_there
        absent = {**batch, "net_input": {k: v for k, v in batch["net_input"].items() if k != noun}}
        if is_there:
            with pytest.raises(ValueError, match=f"{noun} are needed.*features_only=True"):
                losses(model.train(), absent)
            unknown = {
                **batch,
                "net_input": {**absent["net_input"], noun: torch.full_like(batch["net_input"][noun], -1)},
            }
            assert torch.equal(losses(model.eval(), absent)[0], losses(model, unknown)[0]), "as in fairseq's hub"
        else:
            assert torch.equal(losses(model, absent)[0], loss)


def plain_torch(model, batch, leave_out_script=False):
    """Return loss and gradients of both tables from nothing but torch functions, position by position."""
    head, encoder = model.encoder.lm_head, model.encoder
    with torch.no_grad():
        features = encoder.extract_features(batch["net_input"]["src_tokens"])[0]
    lang = encoder.lang_embedding.weight.detach().clone().requires_grad_()
    script = encoder.script_embedding.weight.detach().clone().requires_grad_()
    total = 0.0 * script.sum()
    for row in range(5):
        l, s = int(batch["net_input"]["lang_ids"][row]), int(batch["net_input"]["script_ids"][row])
        for column in range(17):
            label = int(batch["target"][row, column])
            if label == 1:
                continue
            o = features[row, column] + (lang[l] if l >= 0 else 0)
            if s >= 0 and not leave_out_script:
                o = o + script[s]
            x = torch.nn.functional.gelu(head.dense.weight.detach() @ o + head.dense.bias.detach())
            x = torch.nn.functional.layer_norm(x, (24,), head.layer_norm.weight.detach(), head.layer_norm.bias.detach())
            logits = head.weight.detach() @ x + head.bias.detach()
            total = total - torch.log_softmax(logits, 0)[label]
    total.backward()
    return total.detach(), lang.grad, script.grad


def test_gradients_against_plain_torch(batch):
    model = ours().eval()
    for table in (model.encoder.lang_embedding, model.encoder.script_embedding):
        table.weight.data.mul_(20)  # as large as after some training, so that leaving one out shows
    loss, size, log = losses(model, batch)
    loss.backward()
    grads = (model.encoder.lang_embedding.weight.grad, model.encoder.script_embedding.weight.grad)
    expected, *expected_grads = plain_torch(model, batch)
    assert torch.allclose(loss, expected, rtol=1e-5)
    for ours_, theirs in zip(grads, expected_grads):
        assert torch.allclose(ours_, theirs, atol=1e-6, rtol=1e-4) and theirs.abs().max() > 1e-3
    # Control: a reference that leaves the script out has another loss and other gradients.
    wrong, wrong_lang, wrong_script = plain_torch(model, batch, leave_out_script=True)
    assert not torch.allclose(loss, wrong, rtol=1e-4)
    assert not torch.allclose(grads[0], wrong_lang, atol=1e-3) and not wrong_script.any()
    tag_sums = log["tag_sums"]
    assert tag_sums[:, 0].sum().item() == pytest.approx(loss.item(), rel=1e-6) and tag_sums[:, 1].sum() == size


def test_sums_per_tag_by_hand(batch):
    model = ours().eval()
    with torch.no_grad():
        _, _, log = losses(model, batch)
        logits = model(**batch["net_input"])[0]
    for tag in (0, 1):
        rows = batch["tag_ids"] == tag
        chosen = batch["target"][rows].ne(1)
        label = batch["target"][rows][chosen]
        nll = torch.nn.functional.cross_entropy(logits[rows][chosen], label, reduction="sum")
        right = (logits[rows][chosen].argmax(-1) == label).sum()
        assert log["tag_sums"][tag].tolist() == pytest.approx([nll.item(), len(label), right.item()], rel=1e-5)
    model.train()
    assert "tag_sums" not in losses(model, batch)[2]


def test_batch_with_nothing_masked(batch):
    batch["target"].fill_(1)
    loss, size, log = losses(ours().eval(), batch)
    assert loss == 0 and size == 0
    LangSampMaskedLMCriterion.reduce_metrics([log])


def moved_rows(batch, lang_id, script_id):
    """Take a step on a batch of one tag; return which rows of the language and the script table it moved."""
    model = ours().eval()
    tables = (model.encoder.lang_embedding.weight, model.encoder.script_embedding.weight)
    before = [table.detach().clone() for table in tables]
    inputs = batch["net_input"]
    inputs["lang_ids"], inputs["script_ids"] = torch.full((5,), lang_id), torch.full((5,), script_id)
    losses(model, batch)[0].backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    return [
        (old != new).any(1).nonzero().flatten().tolist()
        for old, new in zip(before, (table.detach() for table in tables))
    ]


def test_und_trains_the_script_and_no_language(batch):
    assert moved_rows(batch, UNKNOWN_ID, 1) == [[], [1]]
    # The control: with a language, its row moves, too, and only that.
    assert moved_rows(batch, 2, 1) == [[2], [1]]


def test_und_has_no_row_of_a_language():
    tables = Tables.of([LangScript.parse("deu_Latn"), LangScript.parse("und_Latn"), LangScript.parse("und_Cyrl")])
    assert list(tables.languages) == ["deu"] and list(tables.scripts) == ["Cyrl", "Latn"]
    assert tables.ids(LangScript.parse("und_Latn")) == (UNKNOWN_ID, 1)
