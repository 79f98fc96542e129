// The bytes of a file, read part by part as somebody takes them.

import type { Env } from '../env.ts'
import { getPart } from './part.ts'

export interface Content {
  account_id: string
  /** In order, without gaps. */
  parts: readonly { id: string; begins_at: number; bytes: number }[]
}

/** Those from `begin` on, and before `end`. */
export async function* bytesOf(
  env: Env,
  { account_id, parts }: Content,
  { begin, end }: { begin: number; end: number },
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for (const { id, begins_at, bytes } of parts) {
    if (begins_at + bytes <= begin || begins_at >= end) continue
    const part = await getPart(env, { account_id, id })
    yield part.subarray(Math.max(0, begin - begins_at), end - begins_at)
  }
}

export function streamOf(bytes: AsyncGenerator<Uint8Array>): ReadableStream<Uint8Array> {
  return new ReadableStream(
    {
      async pull(controller) {
        const { done, value } = await bytes.next()
        if (done) controller.close()
        else controller.enqueue(value)
      },
      async cancel() {
        await bytes.return(undefined)
      },
    },
    { highWaterMark: 0 },
  )
}
