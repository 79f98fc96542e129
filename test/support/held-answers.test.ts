// Answers that nobody holds stay open: node's `gc` is asked for by its flag, in this process.

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as after } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, onTestFinished, test } from 'vitest'

test('a stream that nobody reads goes on, however often memory is tidied up', async () => {
  let left = 0
  const server = createServer((_, response) => {
    response.on('close', () => left++)
    response.write('begun')
  })
  await new Promise<void>((listens) => server.listen(0, '127.0.0.1', listens))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  for (let i = 0; i < 30; i++) await fetch(url)
  setFlagsFromString('--expose-gc')
  const tidyUp = runInNewContext('gc') as () => void
  for (let i = 0; i < 5; i++) {
    tidyUp()
    await after(20)
  }
  expect(left).toBe(0)
})
