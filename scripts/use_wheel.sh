#!/usr/bin/env bash
# Uses an installed langsamp-plugin in the current folder, which contains a copy of tests/fixtures/earlier_formats as
# `model`; called by test_wheel.sh.
set -euo pipefail
where=$(python -c 'import langsamp_plugin, os; print(os.path.dirname(langsamp_plugin.__file__))')
case $where in
    */site-packages/langsamp_plugin) ;;
    *) echo "use_wheel.sh: langsamp_plugin must be the installed one, but is $where" >&2; exit 1 ;;
esac
langsamp --version
test -f "$where/py.typed" && test -f "$where/assets/languages.tsv"

# One process for all commands: each start takes a second.
python - <<'END'
import typer
from typer.testing import CliRunner

from langsamp_plugin.cli import app


def commands(group, words=()):
    yield words
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*words, name))


count = 0
for words in commands(typer.main.get_command(app)):
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0 and "Usage:" in result.output, (words, result.output)
    count += 1
print(f"--help of {count} commands")
END
langsamp doctor || true

langsamp export model/checkpoint_last.pt --out hf --spm model/data-bin/sentencepiece.bpe.model \
    --dict model/data-bin/dict.txt
python -c 'from transformers import AutoModel; print("AutoModel:", type(AutoModel.from_pretrained("hf")).__name__)'

mkdir -p eval/sr_bible
for tag in eng_Latn deu_Latn rus_Cyrl; do
    for n in $(seq 1 40); do printf '%s\t%s %s %s\n' "$n" "$tag" "$n" "$((n * n))"; done > "eval/sr_bible/$tag.txt"
done
langsamp evaluate hf --tasks sr_bible --data eval --out results
langsamp report results/hf --out report
test -s report/report.md
