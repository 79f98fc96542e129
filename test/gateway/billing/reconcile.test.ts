import { afterEach, expect, test, vi } from 'vitest'
import { recentLedgerHealth } from '../../../gateway/billing/reconcile.ts'
import { ask as askDatabase } from '../../../gateway/db/ask.ts'

vi.mock('../../../gateway/db/ask.ts', () => ({ ask: vi.fn() }))
afterEach(() => void vi.useRealTimers())

test('however often the health of the ledger is asked for, it is read once a second', async () => {
  vi.useFakeTimers()
  const reads = vi.mocked(askDatabase)
  reads.mockImplementation(async () => ({ decision: 'allowed', checked_s_ago: reads.mock.calls.length }) as never)
  const ask = async () => (await recentLedgerHealth({} as never)).checked_s_ago
  for (let i = 0; i < 100; i += 1) expect(await ask()).toBe(1)
  vi.advanceTimersByTime(999)
  expect(await ask()).toBe(1)
  vi.advanceTimersByTime(1)
  expect(await ask()).toBe(2)
  reads.mockRejectedValueOnce(new Error('no database'))
  vi.advanceTimersByTime(1000)
  await expect(ask()).rejects.toThrow('no database') // what failed is not kept
  expect(await ask()).toBe(4)
})
