"""Generates, filters and splits the data sets. Everything follows from one seed."""
import gzip
import json
import random
import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import evolve
import render
import wording
from families import FAMILIES
from tokenizer import read_rows

SEED = 20231
STAGE1_COUNT, STAGE2_COUNT, REPLAY_COUNT = 72_000, 14_000, 18_000
CHINESE_SHARE = 1 / 4.5
PROMPT_NGRAM, CODE_NGRAM = 10, 13


def build(cache, humaneval, held_out_path):
    cache.mkdir(parents=True, exist_ok=True)
    rng = random.Random(SEED)
    report = Counter()
    clean = Decontaminator(humaneval)
    stage1 = collect(stage1_candidates(rng), STAGE1_COUNT, clean, passes_in_process, report, "stage1")
    stage2 = collect(stage2_candidates(rng), STAGE2_COUNT, clean, compiles, report, "stage2")
    stage2 = filter_by_subprocess(stage2, report)
    held_out = build_held_out(random.Random(SEED + 1), clean, report)
    assert_disjoint(stage1 + stage2, held_out)
    write(cache / "stage1.jsonl", stage1, report)
    write(cache / "stage2.jsonl", stage2, report)
    write(cache / "stage1-replay.jsonl", choose_replay(stage1, random.Random(SEED + 2)), report)
    write_held_out(held_out_path, held_out)
    (cache / "report.json").write_text(json.dumps(report, indent=1, sort_keys=True))
    return report


def stage1_candidates(rng):
    yield from bare_candidates(rng)
    families = list(FAMILIES.values())
    while True:
        lang = choose_language(rng)
        make = render.docstring_example if rng.random() < 0.12 else render.named_example
        family = rng.choice(families)
        if make is render.docstring_example and family.is_class:
            continue
        yield make(family, rng, lang)


def bare_candidates(rng):
    """The card's own question and its neighbours are few and must be certain, so they weigh more in training."""
    for family in FAMILIES.values():
        for lang, patterns in (("en", wording.BARE_EN), ("zh", wording.BARE_ZH)):
            for pattern in range(len(patterns) if family.topic else 0):
                example = render.bare_example(family, lang, pattern, rng)
                example.weight = 12 if family.id == "quick_sort" else 2
                yield example


def stage2_candidates(rng):
    families = list(FAMILIES.values())
    short = [f for f in families if f.body.count("\n") < 4]
    while True:
        lang = choose_language(rng)
        if rng.random() < 0.2:
            yield evolve.pair_example(rng.choice(short), rng.choice(short), rng, lang)
        else:
            yield evolve.evolved_example(rng.choice(families), rng, lang)


def fresh(humaneval, held_out_path, seed):
    """Endless stage-3 examples, none of them twice, through the filters of the stages before."""
    held_out = {normalised(row["prompt"]) for row in read_rows(held_out_path)}
    clean, seen = Decontaminator(humaneval), set()
    for example in stage3_candidates(random.Random(seed)):
        if example is not None and is_for_training(example) and judge(example, seen, clean, passes_in_process) == "kept":
            assert normalised(example.prompt) not in held_out, example.prompt
            yield example


def stage3_candidates(rng):
    """What the stages before left unlearned weighs most: names that can only be copied, constants, several arguments, two steps."""
    families = list(FAMILIES.values())
    copying = [f for f in families if f.vary or len(f.arguments) > 1]
    short = [f for f in families if f.body.count("\n") < 4]
    bare = list(bare_candidates(rng))
    while True:
        lang, kind, invented = choose_language(rng), rng.random(), rng.random() < 0.15
        family = rng.choice(copying if rng.random() < 0.5 else families)
        if kind < 0.03:
            yield rng.choice(bare)
        elif kind < 0.09 and not family.is_class:
            yield render.docstring_example(family, rng, lang)
        elif kind < 0.16:
            yield evolve.pair_example(rng.choice(short), rng.choice(short), rng, lang)
        elif kind < 0.5:
            yield evolve.evolved_example(family, rng, lang, invented, two_steps=0.35)
        else:
            yield render.named_example(family, rng, lang, invented)


def choose_language(rng):
    return "zh" if rng.random() < CHINESE_SHARE else "en"


def collect(candidates, count, clean, passes, report, stage):
    kept, seen = [], set()
    for example in candidates:
        if len(kept) == count:
            return kept
        if example is None or not is_for_training(example):
            continue
        verdict = judge(example, seen, clean, passes)
        report[f"{stage} {verdict}"] += 1
        if verdict == "kept":
            kept.append(example)
    return kept


def is_for_training(example):
    return not (any(render.is_held_out(key, render.HELD_OUT_PARAMETERS) for key in example.parameters)
                or any(render.is_held_out(key, render.HELD_OUT_WORDINGS) for key in example.wordings))


def judge(example, seen, clean, passes):
    key = normalised(example.prompt)
    if key in seen:
        return "duplicate"
    seen.add(key)
    if clean.overlaps(example):
        return "contaminated"
    return "kept" if passes(example) else "failed its tests"


def normalised(text):
    return re.sub(r"[\W]+", " ", text.lower()).strip()


def compiles(example):
    try:
        compile(example.code, "solution", "exec")
    except SyntaxError:
        return False
    return True


def passes_in_process(example):
    try:
        exec(example.code + "\n" + example.tests, {"__name__": "solution"})
    except Exception:
        return False
    return True


def filter_by_subprocess(examples, report, chunk=200):
    """Each process runs many solutions one after the other, each in a fresh namespace, and prints the verdicts."""
    chunks = [examples[i:i + chunk] for i in range(0, len(examples), chunk)]
    with ThreadPoolExecutor(2) as pool:
        verdicts = [v for part in pool.map(run_tests, chunks) for v in part]
    report["stage2 failed its tests"] += verdicts.count(False)
    report["stage2 kept"] -= verdicts.count(False)
    return [example for example, passed in zip(examples, verdicts) if passed]


RUNNER = """
import json, sys
def run(source):
    try:
        exec(source, {"__name__": "solution"})
    except Exception:
        return False
    return True
json.dump([run(source) for source in json.load(sys.stdin)], sys.stdout)
"""


def run_tests(examples):
    sources = json.dumps([e.code + "\n" + e.tests for e in examples])
    done = subprocess.run([sys.executable, "-c", RUNNER], input=sources, capture_output=True, text=True, timeout=300, check=True)
    return json.loads(done.stdout)


class Decontaminator:
    """An example is contaminated when its prompt shares PROMPT_NGRAM words in a row, or its code CODE_NGRAM tokens in
    a row, with a HumanEval prompt or reference solution. The card's fixed task sentence does not count."""

    def __init__(self, path):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            problems = [json.loads(line) for line in file]
        self.prompts = {g for p in problems for g in ngrams(words(p["prompt"]), PROMPT_NGRAM)}
        self.code = {g for p in problems for g in ngrams(code_tokens(p["canonical_solution"]), CODE_NGRAM)}

    def overlaps(self, example):
        prompt = example.prompt.removeprefix(wording.DOCSTRING_TASK)
        return bool(self.prompts & ngrams(words(prompt), PROMPT_NGRAM) or self.code & ngrams(code_tokens(example.code), CODE_NGRAM))


def words(text):
    return re.findall(r"\w+", text.lower())


def code_tokens(text):
    return re.findall(r"\w+|[^\w\s]", text)


def ngrams(tokens, n):
    return {tuple(tokens[i:i + n]) for i in range(len(tokens) - n + 1)}


def build_held_out(rng, clean, report):
    """Two thirds stage-1 kinds, one third evolved and paired; as many families as possible, each at most twice per kind."""
    kept, seen, uses = [], set(), Counter()
    candidates = {"stage1": stage1_held_out(rng), "stage2": stage2_candidates(rng)}
    quota = Counter({("stage1", "zh"): 53, ("stage1", "en"): 187, ("stage2", "zh"): 27, ("stage2", "en"): 93})
    while +quota:
        stage = rng.choice(sorted({stage for stage, _ in +quota}))
        example = next(candidates[stage])
        if example is None or quota[stage, example.lang] == 0 or uses[example.family, stage] == 2:
            continue
        if is_held_out_twice(example) and judge(example, seen, clean, passes_in_process) == "kept":
            quota[stage, example.lang] -= 1
            uses[example.family, stage] += 1
            kept.append(example)
    report["held-out kept"] = len(kept)
    return kept


def stage1_held_out(rng):
    while True:
        yield render.named_example(rng.choice(list(FAMILIES.values())), rng, choose_language(rng))


def is_held_out_twice(example):
    """Neither the names and constants nor the wording may have been trained on."""
    return (all(render.is_held_out(key, render.HELD_OUT_PARAMETERS) for key in example.parameters)
            and all(render.is_held_out(key, render.HELD_OUT_WORDINGS) for key in example.wordings))


def assert_disjoint(training, held_out):
    for kind in ("parameters", "wordings"):
        trained = {key for example in training for key in getattr(example, kind)}
        assert not trained & {key for example in held_out for key in getattr(example, kind)}, kind
    assert not {normalised(e.prompt) for e in training} & {normalised(e.prompt) for e in held_out}


def choose_replay(stage1, rng):
    """What stage 2 repeats of stage 1: every topic question, and a part of the rest; three quarters of it with constants
    or several arguments, which a half-trained model was seen to mix up."""
    bare = [e for e in stage1 if e.kind == "bare"]
    rest = [e for e in stage1 if e.kind != "bare"]
    copying = [e for e in rest if FAMILIES[e.family].vary or len(FAMILIES[e.family].arguments) > 1]
    return bare + rng.sample(copying, REPLAY_COUNT * 3 // 4) + rng.sample(rest, REPLAY_COUNT // 4)


def write(path, examples, report):
    with open(path, "w", encoding="utf-8") as file:
        for example in examples:
            report[f"{path.stem} {example.lang}"] += 1
            report[f"{path.stem} {example.kind}"] += 1
            row = {k: v for k, v in asdict(example).items() if k not in ("parameters", "wordings", "code")}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_held_out(path, examples):
    with open(path, "w", encoding="utf-8") as file:
        for index, e in enumerate(examples):
            row = {"id": f"{e.lang}-{index:03d}-{e.kind}", "lang": e.lang, "family": e.family, "prompt": e.prompt,
                   "entry_point": e.entry_point, "tests": e.tests}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
