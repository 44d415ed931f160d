"""Options with values that cannot be: a line is a command's set-up and what is given to it, in turn."""

import re

from malformed_inputs import Case

OPTIONS = """
corpus: --workers 0 | --workers -3 | --workers many | --out in/mixed
check: --min-script 2 | --max-bad -1 | --max-characters 0
tokenizer train: --vocab-size 5 | --vocab-size 99999999999999999999 | --alpha -1 | --alpha nan | --alpha inf
tokenizer train: --coverage 0.1 | --coverage nan | --max-lines 0
tokenizer trim: --min-count 0 | --min-count many
pairs: --layout nowhere | --held-out -1 | --exclude nowhere
tokenizer extend: --vocab-size 99999999999999999999 | --alpha nan
binarize: --shard 0/2 | --shard 3/2 | --shard a/b | --shard ²/3 | --shard -1/2 | --valid-lines -1 | --tables nowhere
binarize: --valid nowhere | --spm nowhere.model | --workers 0
info data: --alpha nan | --alpha -1 | --alpha inf | --alpha 100000 | --sampling uniform | --counts bytes
info data: --tokens-per-sample 1 | --tokens-per-sample -512 | --tokens-per-sample many | --scale 0 --sampling glot500
info data: --scale nan --sampling glot500 | --scale inf --sampling glot500 | --scale 1e300 --sampling glot500
init checkpoint: --new-pieces zeros | --tables nowhere | --spm nowhere
export: --half float8 | --fold ../../evil_Latn | --fold fin_Latn | --fold zz | --text nowhere
import: --text nowhere | --spm nowhere
evaluate sr_bible: --tasks sr_koran | --tasks ../../sib200 | --layer 99 | --layer -1 | --layers 1,x | --layers ²
evaluate sr_bible: --langs ../../evil_Latn | --langs fin_Latn | --limit -1 | --name ../../evil
evaluate sr_bible: --name /elsewhere/evil | --name .. | --protocol ours | --precision int8 | --device quantum
evaluate sr_bible: --languages nowhere.txt | --revision main | --data nowhere | --min-pairs 100000
report: --baseline nobody | --metric sib200 | --metric sib200=bleu | --metric pos=f1 | --groups nowhere.tsv
evaluate sib200: --source fin_Latn | --source ../../evil_Latn | --lr -1 | --lr nan | --lr inf | --seeds -1
evaluate sib200: --seeds 99999999999999999999 | --seeds ² | --epochs 0
analyze embeddings: --neighbours 0 | --families nowhere
analyze neutrality: --layer 99 | --limit 1 | --limit -1 | --langs ../../evil_Latn,deu_Latn | --langs eng_Latn,deu_Latn
analyze neutrality: --langs eng_Latn,eng_Latn,eng_Latn | --baseline nowhere
analyze sources: --task sr_bible | --task ../../x | --candidates fin_Latn | --candidates ../../evil_Latn | --langs zz
analyze tags: --split nowhere | --split ../../x | --data nowhere
"""


def option_cases():
    for line in OPTIONS.strip().splitlines():
        setup, _, given = line.partition(": ")
        for arguments in given.split(" | "):
            option, value, *_ = words = arguments.split(" ")
            word = option.strip("-").partition("-")[0]
            yield Case(setup, arguments, rf"--{word}|\b{word}|{re.escape(value)}", arguments=tuple(words))
    for setup in ("user-dir", "doctor"):
        yield Case(setup, "an argument", "../../evil_Latn", arguments=("../../evil_Latn",))
        yield Case(setup, "an option", "--frob", arguments=("--frob",))
