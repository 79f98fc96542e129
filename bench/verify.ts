// Verified answers beside greedy ones: how many of the held-out problems of the embedded model pass, and how long after its end a first
// candidate that passes is the answer. Two cores, one of them for the judge:
//   node bench/verify.ts PROBLEMS

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createFundedKey } from '../local/demo-account.ts'
import { startStack } from '../local/stack.ts'

interface Problem {
  prompt: string
  tests: string
}

interface Report {
  passed: boolean
  candidates: { index: number; passed: boolean | null; completion_tokens: number }[]
}

const model_dir = join(import.meta.dirname, '../models/ziya-coding-mini')
const lines = readFileSync(join(model_dir, 'held-out.jsonl'), 'utf8').trim().split('\n')
const count = Number(process.argv[2] ?? lines.length)
const every = Math.max(1, Math.floor(lines.length / count))
const problems = lines.filter((_, i) => i % every === 0).map((line) => JSON.parse(line) as Problem)

const data_dir = mkdtempSync(join(tmpdir(), 'ziya-verify-'))
const stack = await startStack({ port: 0, model_dir, database_url: null, data_dir, verify: true })
try {
  const { api_key } = await createFundedKey(stack, 'bench', '100000000000')
  const ask = async ({ prompt, tests }: Problem, candidates: number | null) => {
    const began = performance.now()
    const answer = await fetch(`${stack.gateway_url}/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${api_key}`, 'content-type': 'application/json' },
      body: JSON.stringify({
        model: 'ziya-coding-mini',
        temperature: 0,
        messages: [{ role: 'user', content: prompt }],
        ...(candidates !== null && { verify: { language: 'python', tests, candidates } }),
      }),
    })
    const { verification } = (await answer.json()) as { verification?: Report }
    return { ms: performance.now() - began, verification }
  }
  const passed = { greedy: 0, verified: 0 }
  const added_ms: number[] = []
  await ask(problems[0]!, 1)
  for (const problem of problems) {
    const plain = await ask(problem, null)
    const greedy = await ask(problem, 1)
    const verified = await ask(problem, 8)
    if (greedy.verification!.passed) passed.greedy += 1
    if (greedy.verification!.passed) added_ms.push(greedy.ms - plain.ms)
    if (verified.verification!.passed) passed.verified += 1
  }
  const p50 = added_ms.toSorted((a, b) => a - b)[Math.floor(added_ms.length / 2)]!
  console.log(
    `${problems.length} problems: ${passed.greedy} pass greedily, ${passed.verified} of 8 candidates verified; ` +
      `${p50.toFixed(0)} ms (p50) more than without tests, where the first candidate passes`,
  )
} finally {
  await stack.stop()
  rmSync(data_dir, { recursive: true, force: true })
}
