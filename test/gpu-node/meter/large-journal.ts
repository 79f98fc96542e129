// Writes a journal as one of a gateway that was away for very long, opens it, and says what is in it. A process of its own, so that its
// heap can be bounded: large-journal.ts FOLDER MEGABYTES

import { closeSync, mkdirSync, openSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { frameOf } from '../../../gpu-node/meter/frame.ts'
import { Journal } from '../../../gpu-node/meter/journal.ts'

const [folder, megabytes] = [process.argv[2]!, Number(process.argv[3])]
const RECORDS = 2000
const STREAMS = 64

write()
const journal = new Journal(folder)
const records = journal.unacknowledged(RECORDS + 1)
console.log(
  JSON.stringify({
    records: records.length,
    first: records[0]!.request_id,
    last_tokens: records.at(-1)!.completion_tokens,
    is_small: statSync(join(folder, 'journal.jsonl')).size < 4 << 20,
  }),
)
journal.close()

/** Records that were finished and never acknowledged, each after the steps of many streams. */
function write(): void {
  mkdirSync(folder, { recursive: true })
  const file = openSync(join(folder, 'journal.jsonl'), 'w')
  let number = 0
  const line = (value: object) => frameOf(++number, JSON.stringify(value))
  const steps_a_record = Math.ceil((megabytes << 20) / RECORDS / (STREAMS * 60))
  for (let i = 0; i < RECORDS; i++) {
    const generation = { ticket: 't'.repeat(500), request_id: `r${i}`, attempt: 1, started_unix_ms: 1 }
    const none = { prompt_tokens: 0, cached_tokens: 0, completion_tokens: 0, delivered_tokens: 0, duration_ms: 0 }
    let text = line({ accepted: { ...generation, ...none, first_token_ms: null }, used_until_ms: 0 })
    const others = Array.from({ length: STREAMS }, (_, k) => [`other-${k}-${'x'.repeat(24)}/1`, 9, 0, i, i, 5, i])
    for (let k = 0; k < steps_a_record; k++) text += line({ counts: others, finished: [] })
    const counts = { ...none, prompt_tokens: 7, completion_tokens: 9, delivered_tokens: 9, first_token_ms: 1 }
    text += line({ counts: [], finished: [{ ...generation, ...counts, outcome: 'stop' }] })
    writeSync(file, text)
  }
  closeSync(file)
}
