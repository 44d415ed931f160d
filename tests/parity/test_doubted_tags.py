"""Lines of an unknown language in a known script train the script's row and no language's."""

import torch
from test_stock_fairseq import batch, losses, ours  # noqa: F401 - batch is a fixture

from langsamp_plugin.lang_script import UNKNOWN_ID, LangScript, Tables


def moved_rows(batch, lang_id, script_id):  # noqa: F811
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


def test_und_trains_the_script_and_no_language(batch):  # noqa: F811
    assert moved_rows(batch, UNKNOWN_ID, 1) == [[], [1]]
    # The control: with a language, its row moves, too, and only that.
    assert moved_rows(batch, 2, 1) == [[2], [1]]


def test_und_has_no_row_of_a_language():
    tables = Tables.of([LangScript.parse("deu_Latn"), LangScript.parse("und_Latn"), LangScript.parse("und_Cyrl")])
    assert list(tables.languages) == ["deu"] and list(tables.scripts) == ["Cyrl", "Latn"]
    assert tables.ids(LangScript.parse("und_Latn")) == (UNKNOWN_ID, 1)
