// Node ends the stream of an answer that nobody reads any more as soon as it is collected, which is whenever the heap is tidied up. A
// test that leaves a stream open would see its request leave in the middle, so each answer is kept for as long as its file runs.

import { afterAll } from 'vitest'

const KEPT_MIN = 256

const held = new Set<Response>()
const fetched = globalThis.fetch
let tidied_at = KEPT_MIN

globalThis.fetch = async (...request) => {
  const answer = await fetched(...request)
  held.add(answer)
  if (held.size >= tidied_at) forgetRead()
  return answer
}

afterAll(() => {
  held.clear()
  globalThis.fetch = fetched
})

// What was read needs no holding, and a file may send very many.
function forgetRead(): void {
  for (const answer of held) if (answer.bodyUsed || answer.body === null) held.delete(answer)
  tidied_at = Math.max(KEPT_MIN, 2 * held.size)
}
