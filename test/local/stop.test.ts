// What Ctrl-C does to who is being served: each stream ends whole, and what it cost is settled before the process ends.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { freePort } from '../../local/port.ts'
import { launch, nothingLeft, ROW_MS_MAX, untilItServes } from '../ground/run.ts'
import { open, rest, states } from '../ground/streams.ts'

const STREAMS = 64
const root = join(import.meta.dirname, '../..')
const folder = mkdtempSync(join(tmpdir(), 'ziya-stop-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test(
  `SIGINT under ${STREAMS} streams: each ends with [DONE], and all are settled before the exit`,
  async () => {
    const data = join(folder, 'data')
    const run = launch({ clone: root, data, args: ['--port', String(await freePort()), '--data', data] })
    await untilItServes(run, 90_000)
    const ready = JSON.parse(readFileSync(join(data, 'ready.json'), 'utf8'))
    const streams = await Promise.all(Array.from({ length: STREAMS }, () => open(ready)))
    process.kill(-run.child.pid!, 'SIGINT')
    const endings = await Promise.all(streams.map(rest))
    expect(endings.filter((text) => text.endsWith('data: [DONE]\n\n'))).toHaveLength(STREAMS)
    expect(await run.ended, run.output()).toBe(0)
    await nothingLeft(run)
    expect(await states(data)).toEqual([{ state: 'posted', count: STREAMS + 1 }]) // one is the demo question
  },
  ROW_MS_MAX,
)
