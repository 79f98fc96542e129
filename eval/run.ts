// One run: samples come from a model or from a file, each is judged as it comes, and nothing is asked twice.

import type { Sandbox } from '../sandbox/sandbox.ts'
import type { Endpoint } from './ask-model.ts'
import { askModel, clientOf } from './ask-model.ts'
import type { Options } from './options.ts'
import { each, limiter } from './pool.ts'
import type { Problem } from './problem.ts'
import type { Recipe, Sampling } from './recipe.ts'
import { appendSample, type Sample } from './samples.ts'

export interface Judged extends Sample {
  passed: boolean
  failure: string | null
}

export interface Judging {
  sandbox: Sandbox
  problems: Map<string, Problem>
  preamble: string
  cpu_s: number | null
  at_once: number
  on_verdict: (judged: Judged) => void
}

/** `judge` takes samples as they come; `finished` ends when all of them have their verdict. */
export function openJudging(judging: Judging) {
  const slot = limiter(judging.at_once)
  const verdicts: Promise<Judged>[] = []
  const judge = (sample: Sample) => void verdicts.push(slot(() => judgeOne(judging, sample)))
  return { judge, finished: () => Promise.all(verdicts) }
}

async function judgeOne({ sandbox, problems, preamble, cpu_s, on_verdict }: Judging, sample: Sample): Promise<Judged> {
  const problem = problems.get(sample.task_id)!
  const task = problem.task(sample.completion)
  const program = sample.is_whole ? sample.completion : task.candidate
  const is_python = task.language === 'python'
  const verdict = sample.error
    ? { passed: false, failure: sample.error }
    : await sandbox.judge({
        ...task,
        candidate: is_python ? preamble + program : program,
        ...(task.context !== undefined && is_python && { context: preamble + task.context }),
        limits: { ...task.limits, ...(cpu_s !== null && { cpu_s, wall_s: 6 * cpu_s }) },
      })
  const judged = { ...sample, passed: verdict.passed, failure: verdict.failure }
  on_verdict(judged)
  return judged
}

export interface Asking {
  endpoint: Endpoint
  recipe: Recipe
  sampling: Sampling
  options: Options
  file: string
  signal: AbortSignal
  on_first: (sample: Sample, rest: number) => void
  judge: (sample: Sample) => void
}

/** Asks for every sample that `have` lacks: the first alone, because it says how long the others will take. */
export async function askForSamples(problems: Problem[], have: Sample[], asking: Asking): Promise<void> {
  const known = new Set(have.map(({ task_id, index }) => `${task_id} ${index}`))
  const wanted = problems
    .flatMap((problem) => Array.from({ length: asking.options.n }, (_, index) => ({ problem, index })))
    .filter(({ problem, index }) => !known.has(`${problem.id} ${index}`))
  const client = clientOf(asking.endpoint)
  const ask = async ({ problem, index }: { problem: Problem; index: number }) => {
    asking.signal.throwIfAborted()
    const { endpoint, recipe, sampling, signal } = asking
    const sample = await askModel(client, { model: endpoint.model, recipe, sampling, problem, index, signal })
    appendSample(asking.file, sample)
    asking.judge(sample)
    return sample
  }
  const [first, ...rest] = wanted
  if (!first) return
  asking.on_first(await ask(first), rest.length)
  await each(rest, asking.options.concurrency, async (one) => void (await ask(one)))
}

// `IMPORT_HELPER` of CodeGeeX's harness, which CodeFuse's is made from. Where numpy is not installed its two lines are skipped.
export const import_preamble = `${[
  'import math, re, sys, copy, datetime, itertools, collections, heapq, functools, hashlib, string',
  'try:',
  '    import numpy',
  '    import numpy as np',
  'except ImportError:',
  '    pass',
  'from typing import *',
  'from collections import *',
].join('\n')}\n`
