// Good files changed at random and read, FUZZ_RUNS=n times by the readers of TypeScript and as often by the native one under the
// address sanitizer, both at once. SEED=… repeats a run.

import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { draws } from '../../../../support/draws.ts'
import { HANG_MS_MIN } from '../../../../support/patience.ts'
import { seededRandom } from '../../../../support/random.ts'
import { folderWith, layOut, safetensorsBytes, tinyTensors } from '../../../../support/safetensors.ts'
import { addedToken, tokenizerJson } from '../../../../support/tokenizer-json.ts'
import { tokenizerModel } from '../../../../support/tokenizer-model.ts'
import { stateDictPickle, torchFile, zeroTensors } from '../../../../support/torch-file.ts'

const RUNS = draws('FUZZ_RUNS', { few: 4000, all: 30_000 })
const { seed } = seededRandom()

/** What a program prints; one that hangs is killed, and its errors are the failure's text. */
async function run(program: string, args: string[]): Promise<string> {
  const options = { timeout: HANG_MS_MIN, killSignal: 'SIGKILL', maxBuffer: 1 << 26 } as const
  const ran = await promisify(execFile)(program, args, options).catch((error) => error)
  expect(ran.code ?? ran.signal ?? 0, `seed ${seed}: ${ran.stdout}${ran.stderr}`).toBe(0)
  return ran.stdout
}

test(`${RUNS} random changes give what lies inside the file, or an error by name`, async () => {
  await Promise.all([fuzzReaders(), fuzzNative()])
})

async function fuzzReaders(): Promise<void> {
  const { header, data_bytes } = layOut(tinyTensors)
  const folder = folderWith({
    'whole.safetensors': safetensorsBytes(header, data_bytes),
    'whole.bin': torchFile(zeroTensors(tinyTensors)),
    'state.pkl': stateDictPickle(zeroTensors(tinyTensors)),
    'shapes.json': JSON.stringify(tinyTensors),
    'tokenizer.model': tokenizerModel({ pieces: [{ text: 'a', score: -1 }] }),
    'tokenizer.json': tokenizerJson({
      added: [addedToken({ id: 262, content: '<human>' }), addedToken({ id: 263, content: '<cut>', special: false })],
    }),
  })
  const script = join(import.meta.dirname, 'fuzz.ts')
  const output = await run(process.execPath, ['--max-old-space-size=448', script, `${RUNS}`, `${seed}`, folder])
  console.log(output)
  const { outcomes } = JSON.parse(output.trim().split('\n').at(-1)!) as {
    outcomes: Record<string, Record<string, number>>
  }
  // It reaches what is behind the first check: each of these is the outcome of one change in sixty, and more, of its target.
  const often: Record<string, string[]> = {
    safetensors: ['ok', 'weights_header_invalid', 'weights_hole', 'weights_out_of_range', 'weights_truncated'],
    'safetensors header': ['ok', 'weights_header_invalid', 'weights_duplicate_tensor', 'weights_size_mismatch'],
    bin: ['ok', 'weights_zip_invalid', 'weights_truncated'],
    'bin pickle': ['ok', 'weights_pickle_invalid', 'weights_pickle_forbidden', 'weights_out_of_range'],
    tokenizer: ['ok', 'tokenizer_invalid'],
    'tokenizer.json': ['tokenizer_invalid', 'tokenizer_unsupported'],
  }
  for (const [target, expected] of Object.entries(often))
    expect(Object.keys(outcomes[target]!), target).toEqual(expect.arrayContaining(expected))
}

async function fuzzNative(): Promise<void> {
  const program = join(import.meta.dirname, '../../../../../native/build/load-check')
  const output = await run(program, ['fuzz', `${RUNS}`, `${seed}`])
  console.log(output)
  expect(output).toMatch(/^\d+ runs, ([5-9]|\d\d) outcomes, \d+ MB\n$/)
}
