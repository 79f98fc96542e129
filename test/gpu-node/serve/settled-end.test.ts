// The end of an answer, over a node with a gateway that settles when it is told to: the client never learns of it before.

import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { SyncRequest } from '../../../contract/internal/sync.ts'
import { FakeGateway } from '../../support/fake-gateway.ts'
import { startFakeNode } from '../../support/fake-node.ts'
import { generate } from '../../support/generate.ts'

test.each([false, true])('(streaming: %s) comes after its record was settled, each of many', async (stream) => {
  const gateway = await FakeGateway.start()
  const settled = new Set<string>()
  gateway.answers = () => sleep(20)
  gateway.settle = ({ request_id }) => {
    settled.add(request_id)
    return 'posted'
  }
  const node = await startFakeNode({ config: { gateway_url: gateway.url } })
  const ended = await Promise.all(
    Array.from({ length: 12 }, async (_, i) => {
      const request_id = `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`
      const answer = await generate(node.url, { request_id, stream, max_tokens: 1 + i })
      await answer.text()
      return settled.has(request_id)
    }),
  )
  expect(ended).toEqual(ended.map(() => true))
  expect(gateway.reports.flatMap(({ records }: SyncRequest) => records)).toHaveLength(12)
})

test('waits for no gateway that is not there', async () => {
  const node = await startFakeNode()
  expect((await generate(node.url, { max_tokens: 3 })).status).toBe(200)
})
