"""An encoder's study, from a folder of text to the report: `examples/ablation/run.sh --size encoder`."""

import csv
import fcntl
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from support import ROOT, run, weights
from transformers import AutoModelForMaskedLM

pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv" / "installed").exists(), reason="run.sh would install .venv first; run bash scripts/test.sh"
)
ARMS = ("vanilla", "both", "pairs")
TABLE = "encoder.lang_embedding.weight"
TAGS = ["deu_Latn", "eng_Latn", "hin_Deva", "rus_Cyrl"]


@pytest.fixture(scope="module")
def study(demo, exported, eval_data, tmp_path_factory):
    """One seed and length of three arms, from a tiny encoder."""
    out = tmp_path_factory.mktemp("study") / "out"
    command = [
        "bash", ROOT / "examples" / "ablation" / "run.sh", "--size", "encoder", "--start", exported, "--corpus",
        demo / "corpus" / "train", "--eval", eval_data, "--pairs", "django", "--out", out, "--updates", 4, "--seeds", 1,
        "--arms", " ".join(ARMS), "--head-updates", 3, "--limit", 20, "--jobs", 1, "--precision", "bf16",
    ]  # fmt: skip
    return out, command, run(*command, warm_script=True)


def test_languages_are_those_of_the_rule(study):
    out, _, output = study
    with open(out / "languages.tsv", encoding="utf-8") as stream:
        assert [row["tag"] for row in csv.DictReader(stream, delimiter="\t")] == TAGS
    assert "split differently than before: 0 of" in output, "evaluation texts are split as before, too"


def test_all_arms_start_from_one_head_and_one_encoder(study):
    """The head's training changes the head alone; an arm's first weights are its result's but for its updates."""
    out, _, _ = study
    start, head = weights(out / "start" / "model.pt"), weights(out / "untouched/models/untouched/checkpoint_last.pt")
    changed = {name for name in head if not torch.equal(head[name], start[name])}
    assert changed and all("lm_head" in name and not name.endswith("lm_head.weight") for name in changed)
    vanilla, both = (weights(out / "updates-4" / "models" / f"{arm}-1" / "checkpoint_last.pt") for arm in ARMS[:2])
    assert all((both[name] - head[name]).abs().max() < 0.01 for name in head if head[name].is_floating_point())
    assert not any("lang_embedding" in name for name in vanilla)
    assert not torch.equal(both[TABLE].bfloat16().float(), both[TABLE]), "float32 weights of a training in bfloat16"
    logs = [(out / "updates-4" / "models" / f"{arm}-1" / "train.log").read_text() for arm in ARMS]
    assert all("loss" in log for log in logs) and "align_share=0.25" in logs[2].replace(
        "'align_share': ", "align_share="
    )
    assert (
        all("'bf16': True" in log for log in logs)
        and "'bf16': False" in (out / "untouched" / "models" / "untouched" / "train.log").read_text()
    )


def test_every_measurement_is_there(study):
    out, _, _ = study
    for arm in ARMS:
        where = out / "updates-4"
        found = json.loads((where / "results" / f"{arm}-1" / "sr_bible.json").read_text())
        assert sorted(found["by_layer"]) == ["0", "1", "2"] and sorted(found["scores"]) == [*TAGS[:1], *TAGS[2:]]
        assert sorted(json.loads((where / "frozen" / f"{arm}-1.json").read_text())["sib200"]["zero_shot"]) == TAGS
        tagged = json.loads((where / "tagging" / f"{arm}-1.json").read_text())["pos"]
        assert tagged["source"] == "eng_Latn" and sorted(tagged["zero_shot"]) == TAGS
        assert all(0 < score <= 100 for score in tagged["zero_shot"].values())
        assert (
            (where / "transfer" / f"{arm}-1.json").exists()
            == (where / "tags" / f"{arm}-1.json").exists()
            == (arm != "vanilla")
        )
        assert "probe" in json.loads((where / "neutrality" / f"{arm}-1" / "neutrality.json").read_text())["model"]
    assert not list(out.rglob("scratch/*")), "what was cached is removed"
    report = (out / "report.md").read_text()
    assert "Incomplete" not in report and "no test" in report and "| unchanged encoder | - |" in report
    assert {"languages", "known", "updates", "missing"} == set(json.loads((out / "study.json").read_text()))


def test_the_best_model_is_exported_with_its_scores(study):
    """By the commands that the report names."""
    out, _, _ = study
    block = (out / "report.md").read_text().partition("## The best model")[2].split("```")[1]
    for line in block.splitlines()[1:]:
        words = line.split()
        run(*[out / word if "/" in word or word.startswith("best") else word for word in words])
    card = (out / "best" / "README.md").read_text()
    assert "| untouched |" in card.partition("## Scores")[2]
    assert AutoModelForMaskedLM.from_pretrained(out / "best").config.hidden_size == 32


def test_run_again_it_resumes(study):
    """Finished work is not repeated, and a measurement that is gone is made with the same numbers."""
    out, command, _ = study
    command = ["vanilla both" if word == " ".join(ARMS) else word for word in command]
    path, report = out / "updates-4" / "frozen" / "both-1.json", (out / "report.md").read_text()
    before = path.read_text()
    path.unlink()
    output = run(*command, warm_script=True)
    assert [line for line in output.splitlines() if line.startswith("== ")] == ["== frozen features of both-1"]
    assert path.read_text() == before and (out / "report.md").read_text() == report
    output = run(*command, "--limit", 10, warm_script=True, expect=2)
    assert "was made with other settings" in output


def test_a_failed_measurement_is_one_line(study):
    out, command, _ = study
    checkpoint = out / "updates-4" / "models" / "both-1" / "checkpoint_last.pt"
    aside = checkpoint.rename(out / "aside.pt")
    output = run(*command, warm_script=True, expect=1)
    assert "run.sh: failed: the measurements of both-1; fix it and run the same command again" in output
    aside.rename(checkpoint)


def test_two_runs_do_not_share_a_folder(study):
    out, command, _ = study
    with open(out / ".lock") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert f"run.sh: another run is using {out}" in run(*command, warm_script=True, expect=1)


WRONG = {
    "--batch abc": "--batch must be a number from 1, but is 'abc'",
    "--updates 0": "--updates must be a number from 1, or several, such as 100,300, but is '0'",
    "--seeds ,": "--seeds must be numbers, such as 1,2, but is ','",
    "--jobs 0": "--jobs must be a number from 1, but is '0'",
    "--limit all": "--limit must be a number (0: all sentences), but is 'all'",
    "--arms vanila": "separated by spaces, but has 'vanila'",
    "--precision fp8": "--precision must be fp32 or bf16, but is 'fp8'",
    "--batch 4 --size small": "--batch, --head-updates and --precision belong to --size encoder and gpu",
    "--updates 1,2 --size small": "--updates must be one number with --size small, but is '1,2'",
    "--jobs": "--jobs needs a value",
}


@pytest.mark.parametrize("options", WRONG)
def test_wrong_values_are_refused_at_once(options, tmp_path):
    command = ["bash", ROOT / "examples" / "ablation" / "run.sh", "--size", "encoder", "--out", tmp_path / "out"]
    output = run(*command, *options.split(), expect=2)
    assert WRONG[options] in output and len(output.splitlines()) == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT, None])
def test_a_stopped_script_ends_what_it_started(stop, tmp_path):
    """The signal reaches the script alone. Its own first part, with other programs in place of the study.

    None: a step of the study fails instead.
    """
    text = (ROOT / "examples" / "ablation" / "run.sh").read_text()
    script = tmp_path / "stopped.sh"
    saving = f"trap 'sleep 1; touch {tmp_path / 'saved'}; exit' TERM; echo started; while :; do sleep 0.1; done"
    work = f'{{ bash -c "{saving}"; echo; }} &\nsleep 600 &\nuntil [ -e "$0.fail" ]; do sleep 0.1; done\nexit 3\n'
    script.write_text(text[: text.index("here=$(cd")] + work)
    with subprocess.Popen(["bash", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"started\n"
        group = int(subprocess.check_output(["pgrep", "-P", str(process.pid)]))
        if stop:
            process.send_signal(stop)
        else:
            Path(f"{script}.fail").touch()
        assert process.wait(timeout=60) == (-stop if stop else 3)
        assert (b"run.sh: stopped; run the same command again to resume\n" in process.stderr.read()) == bool(stop)
    assert (tmp_path / "saved").exists(), "training runs save first"
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], stdout=subprocess.PIPE, text=True).stdout.splitlines()
    left = [line for line in listed if line.split()[0] == str(group) and not line.split()[1].startswith("Z")]
    assert not left, "none but what nobody has waited for"


def test_what_starts_and_stops_at_once_leaves_nothing(tmp_path):
    """A signal may arrive before there is a process group, or while it is formed."""
    text = (ROOT / "examples" / "ablation" / "run.sh").read_text()
    script = tmp_path / "stopped.sh"
    script.write_text(text[: text.index("here=$(cd")] + "sleep 600\n")
    for delay in (0.002, 0.005, 0.01, 0.02, 0.05):
        with subprocess.Popen(["bash", script], stderr=subprocess.PIPE) as process:
            time.sleep(delay)
            process.terminate()
            assert process.wait(timeout=60) == -signal.SIGTERM
        listed = subprocess.run(["ps", "-eo", "args="], stdout=subprocess.PIPE, text=True).stdout
        assert str(tmp_path) not in listed
