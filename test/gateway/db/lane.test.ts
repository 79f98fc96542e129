import { afterEach, expect, test, vi } from 'vitest'
import { type Connection, NoAnswer, StatementRefused, StatementUndone } from '../../../gateway/db/connection.ts'
import { Lane } from '../../../gateway/db/lane.ts'
import { PATIENCE_MS } from '../../support/patience.ts'

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

const PATIENTLY = { timeout: PATIENCE_MS, interval: 1 }

interface Call {
  name: string
  items: object[]
  answer: (answers: object[]) => void
  fail: (error: Error) => void
}

/** A lane over connections whose calls wait until the test answers them. */
function heldLane(patience_ms = 5000, undoes_late = true, after?: Lane) {
  vi.spyOn(console, 'error').mockImplementation(() => {})
  const calls: Call[] = []
  const late: object[] = []
  let connected = 0
  let discarded = 0
  const connect = (): Connection => {
    connected += 1
    return {
      call: (name, items) =>
        new Promise((answer, fail) => {
          calls.push({ name, items, answer, fail })
        }),
      discard: () => {
        discarded += 1
      },
    }
  }
  const onLate = (answer: object) => late.push(answer)
  const mustEnd = (name: string) => name !== 'read'
  const lane = new Lane({ connect, patience_ms, ...(undoes_late && { onLate, mustEnd }), ...(after && { after }) })
  const nextCall = (count: number) =>
    vi.waitFor(() => (calls.length >= count ? calls[count - 1]! : Promise.reject(calls)), PATIENTLY)
  return { lane, nextCall, late, counts: () => ({ calls: calls.length, connected, discarded }) }
}

const ok = (i: number) => ({ decision: 'ok', i })

test('what queues while a call runs goes as one call, and everyone gets his own answer', async () => {
  const { lane, nextCall, counts } = heldLane()
  const asked = [lane.ask('admit', { i: 0 })]
  const first = await nextCall(1)
  for (const i of [1, 2, 3, 4]) asked.push(lane.ask('admit', { i }))
  first.answer([ok(0)])
  const second = await nextCall(2)
  expect(second.items).toEqual([{ i: 1 }, { i: 2 }, { i: 3 }, { i: 4 }])
  second.answer([1, 2, 3, 4].map(ok))
  expect(await Promise.all(asked)).toEqual([0, 1, 2, 3, 4].map(ok))
  expect(counts()).toEqual({ calls: 2, connected: 1, discarded: 0 })
})

test('a lane of single items carries one at a time, in order', async () => {
  const calls: object[][] = []
  const connection: Connection = {
    call: async (_, items) => {
      calls.push(items)
      return items
    },
    discard: () => {},
  }
  const lane = new Lane({ connect: () => connection, patience_ms: 5000, batch_max: 1 })
  const asked = [0, 1, 2].map((i) => lane.ask('read', { i }))
  expect(await Promise.all(asked)).toEqual([{ i: 0 }, { i: 1 }, { i: 2 }])
  expect(calls).toEqual([[{ i: 0 }], [{ i: 1 }], [{ i: 2 }]])
})

test('what is asked in one turn goes as one call, and so does what is asked by those it answers', async () => {
  const { lane, nextCall } = heldLane()
  const again = async (i: number) => {
    await lane.ask('admit', { i })
    void lane.ask('admit', { i: i + 10 })
  }
  for (const i of [0, 1, 2]) void again(i)
  const first = await nextCall(1)
  expect(first.items).toEqual([{ i: 0 }, { i: 1 }, { i: 2 }])
  first.answer([0, 1, 2].map(ok))
  expect((await nextCall(2)).items).toEqual([{ i: 10 }, { i: 11 }, { i: 12 }])
})

test('a lane behind another waits for its call under way, and for no later one', async () => {
  const first = heldLane()
  const behind = heldLane(5000, true, first.lane)
  void first.lane.ask('admit', { i: 0 })
  const admission = await first.nextCall(1)
  for (const i of [0, 1]) void first.lane.ask('admit', { i: i + 1 })
  for (const i of [0, 1]) void behind.lane.ask('settle', { i })
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(behind.counts().calls).toBe(0)
  admission.answer([ok(0)])
  await first.nextCall(2)
  const settlement = await behind.nextCall(1)
  expect(settlement.items).toEqual([{ i: 0 }, { i: 1 }])
  settlement.answer([ok(0), ok(1)])
  void first.lane.ask('admit', { i: 3 }) // does not wait for the lane behind
  void behind.lane.ask('settle', { i: 2 })
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect([first.counts().calls, behind.counts().calls]).toEqual([2, 1])
})

test('different functions go in different calls, in the order they were asked', async () => {
  const { lane, nextCall } = heldLane()
  void lane.ask('a', { i: 0 })
  await nextCall(1)
  for (const [name, i] of [
    ['a', 1],
    ['b', 2],
    ['a', 3],
  ] as const)
    void lane.ask(name, { i })
  ;(await nextCall(1)).answer([ok(0)])
  const second = await nextCall(2)
  expect([second.name, second.items]).toEqual(['a', [{ i: 1 }]])
  second.answer([ok(1)])
  const third = await nextCall(3)
  expect([third.name, third.items]).toEqual(['b', [{ i: 2 }]])
})

test('after an unknown outcome the same items are asked again over a new connection', async () => {
  const { lane, nextCall, counts } = heldLane()
  const asked = lane.ask('admit', { i: 1 })
  ;(await nextCall(1)).fail(new Error('connection reset'))
  const again = await nextCall(2)
  expect(again.items).toEqual([{ i: 1 }])
  again.answer([ok(1)])
  expect(await asked).toEqual(ok(1))
  expect(counts()).toEqual({ calls: 2, connected: 2, discarded: 1 })
})

/** Answers all calls of a lane by what `judge` says of each: an error, or null where it is answered. */
async function carryAll(
  asked: Promise<unknown>[],
  nextCall: (count: number) => Promise<Call>,
  judge: (items: { i: number }[]) => Error | null,
) {
  const sizes: number[] = []
  let is_done = false
  const all = Promise.all(asked).finally(() => {
    is_done = true
  })
  while (!is_done) {
    const call = await Promise.race([nextCall(sizes.length + 1), all.then(() => null)])
    if (!call) break
    const items = call.items as { i: number }[]
    sizes.push(items.length)
    const error = judge(items)
    if (error) call.fail(error)
    else call.answer(items.map(({ i }) => ok(i)))
  }
  return { answers: await all, sizes }
}

test('an item the database refuses fails alone, wherever it stands, in few calls', async () => {
  const bad = Math.floor(Math.random() * 64)
  const { lane, nextCall } = heldLane()
  const asked = Array.from({ length: 64 }, (_, i) => lane.ask('settle', { i }))
  const refused = new StatementRefused('22003', 'out of range')
  const { answers, sizes } = await carryAll(asked, nextCall, (items) =>
    items.some(({ i }) => i === bad) ? refused : null,
  )
  expect(answers).toEqual(asked.map((_, i) => (i === bad ? { decision: 'failed', sqlstate: '22003' } : ok(i))))
  expect(sizes.length).toBeLessThanOrEqual(13)
})

test('a batch that the server gave up is asked again in halves, down to one, over the same connection', async () => {
  const { lane, nextCall, counts } = heldLane()
  const asked = Array.from({ length: 16 }, (_, i) => lane.ask('admit', { i }))
  const too_long = new StatementUndone('57014')
  const { answers, sizes } = await carryAll(asked, nextCall, (items) => (items.length > 2 ? too_long : null))
  expect(answers).toEqual(asked.map((_, i) => ok(i)))
  expect(sizes.filter((size) => size <= 2)).toHaveLength(8)
  expect(counts().connected).toBe(1)
})

test('an item that the server gives up every time is in nobody else’s way', async () => {
  const { lane, nextCall } = heldLane(30_000)
  void lane.ask('admit', { i: 1 }, 'party 1')
  const others = [0, 2, 3].map((i) => lane.ask('admit', { i }, `party ${i}`))
  const too_long = new StatementUndone('57014')
  const { answers } = await carryAll(others, nextCall, (items) => (items.some(({ i }) => i === 1) ? too_long : null))
  expect(answers).toEqual([ok(0), ok(2), ok(3)])
})

test('after a batch that got no answer in time the next are smaller, and grow again', async () => {
  const { lane, nextCall } = heldLane()
  for (let i = 0; i < 100; i += 1) void lane.ask('settle', { i })
  ;(await nextCall(1)).fail(new NoAnswer('no answer'))
  const sizes: number[] = []
  for (let count = 2; sizes.reduce((sum, size) => sum + size, 0) < 100; count += 1) {
    const { items, answer } = await nextCall(count)
    sizes.push(items.length)
    answer(items.map((_, i) => ok(i)))
  }
  expect(sizes).toEqual([50, 50])
})

test('what got no answer in time is asked about, and never asked again, whether or not somebody waits', async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
  const calls: object[][] = []
  const asked_about: unknown[] = []
  const connection: Connection = {
    call: async (_, items) => {
      calls.push(items)
      throw new NoAnswer('no answer')
    },
    discard: () => {},
  }
  const onUnknown = async (name: string, item: object, is_wanted: boolean) => {
    asked_about.push([name, item, is_wanted])
    return (item as { i: number }).i === 0 ? ok(0) : ('unavailable' as const)
  }
  const lane = new Lane({ connect: () => connection, patience_ms: 5000, onUnknown })
  expect(await Promise.all([0, 1].map((i) => lane.ask('admit', { i })))).toEqual([ok(0), 'unavailable'])
  expect(asked_about).toEqual([0, 1].map((i) => ['admit', { i }, true]))
  expect(calls).toEqual([[{ i: 0 }, { i: 1 }]])
})

test('what is found after its caller gave up is handed back as late', async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
  const late: object[] = []
  const found = Promise.withResolvers<object>()
  const connection: Connection = { call: () => Promise.reject(new NoAnswer('no answer')), discard: () => {} }
  const lane = new Lane({
    connect: () => connection,
    patience_ms: 30,
    onUnknown: () => found.promise,
    onLate: (answer) => late.push(answer),
  })
  expect(await lane.ask('admit', { i: 1 })).toBe('unavailable')
  found.resolve(ok(1))
  await vi.waitFor(() => expect(late).toEqual([ok(1)]), PATIENTLY)
})

test('no more than one thrown-away connection can still be at work: the next one waits until the one before has ended', async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {})
  vi.useFakeTimers() // so that no timer is early
  const linger_ms = 200
  const connected_ms: number[] = []
  const connect = (): Connection => {
    connected_ms.push(Date.now())
    return { call: () => Promise.reject(new Error('reset')), discard: () => {} }
  }
  const lane = new Lane({ connect, patience_ms: 1500, linger_ms })
  const answer = lane.ask('read', { i: 1 })
  await vi.advanceTimersByTimeAsync(1500)
  expect(await answer).toBe('unavailable')
  for (let i = 2; i < connected_ms.length; i += 1)
    expect(connected_ms[i]! - connected_ms[i - 2]!).toBeGreaterThanOrEqual(linger_ms)
  expect(connected_ms.length).toBeGreaterThan(3)
})

test('one party’s thousand items delay another’s by one batch, and take no place from it where the queue is full', async () => {
  const { lane, nextCall } = heldLane()
  const many = Array.from({ length: 2000 }, (_, i) => lane.ask('admit', { i }, 'many'))
  const first = await nextCall(1)
  const more = Array.from({ length: 200 }, (_, i) => lane.ask('admit', { i: 2000 + i }, 'many'))
  const few = lane.ask('admit', { i: -1 }, 'few')
  expect(await Promise.race([...many, ...more])).toBe('busy')
  first.answer(first.items.map((_, i) => ok(i)))
  const second = await nextCall(2)
  expect(second.items).toContainEqual({ i: -1 })
  second.answer(second.items.map((item) => item))
  expect(await few).toEqual({ i: -1 })
})

test('a caller whose patience ends is told so, and a late admission is handed back', async () => {
  const { lane, nextCall, late } = heldLane(30)
  const asked = lane.ask('admit', { i: 1 })
  const call = await nextCall(1)
  expect(await asked).toBe('unavailable')
  call.answer([ok(1)])
  await vi.waitFor(() => expect(late).toEqual([ok(1)]), PATIENTLY)
})

test('what must end is asked again until its answer can be undone, apart from what somebody waits for, and behind it', async () => {
  const { lane, nextCall, late } = heldLane(30)
  expect(await lane.ask('admit', { i: 1 })).toBe('unavailable')
  ;(await nextCall(1)).fail(new Error('no answer'))
  const second = await nextCall(2)
  expect(second.items).toEqual([{ i: 1 }])
  void lane.ask('admit', { i: 2 })
  second.fail(new Error('no answer'))
  const third = await nextCall(3)
  expect(third.items).toEqual([{ i: 2 }])
  third.answer([ok(2)])
  ;(await nextCall(4)).answer([ok(1)])
  await vi.waitFor(() => expect(late).toContainEqual(ok(1)), PATIENTLY)
})

test('of what nobody waits for a bounded number is kept', async () => {
  const { lane, nextCall, late } = heldLane(30)
  const asked = Array.from({ length: 2000 }, (_, i) => lane.ask('admit', { i }))
  await Promise.all(asked)
  for (let count = 1; count <= 10; count += 1) (await nextCall(count)).fail(new Error('no answer'))
  for (let count = 11; late.length < 1000; count += 1) {
    const { items, answer } = await nextCall(count)
    answer(items.map((_, i) => ok(i)))
    await new Promise((resolve) => setTimeout(resolve))
  }
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(late).toHaveLength(1000)
})

test('what need not end is not asked again beside what must', async () => {
  const { lane, nextCall, counts } = heldLane(30)
  const asked = [lane.ask('read', { i: 1 }), lane.ask('void', { i: 2 })]
  expect(await Promise.all(asked)).toEqual(['unavailable', 'unavailable'])
  ;(await nextCall(1)).fail(new Error('connection reset'))
  const second = await nextCall(2)
  expect([second.name, second.items]).toEqual(['void', [{ i: 2 }]])
  second.fail(new Error('connection reset'))
  ;(await nextCall(3)).answer([ok(2)])
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(counts().calls).toBe(3)
})

test('where nothing has to be undone, an item nobody waits for any more is not asked again', async () => {
  const { lane, nextCall, counts } = heldLane(30, false)
  const asked = lane.ask('admit', { i: 1 })
  const call = await nextCall(1)
  await asked
  call.fail(new Error('connection reset'))
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(counts().calls).toBe(1)
})

test('beyond its bound the queue is full, and says so at once', async () => {
  const { lane } = heldLane()
  const first = Array.from({ length: 2000 }, (_, i) => lane.ask('admit', { i }))
  expect(await lane.ask('admit', { i: -1 })).toBe('busy')
  expect(await Promise.race([first.at(-1), 'waiting'])).toBe('waiting')
})

test('a batch is bounded', async () => {
  const { lane, nextCall } = heldLane()
  for (let i = 0; i < 300; i += 1) void lane.ask('admit', { i })
  const first = await nextCall(1)
  expect(first.items).toHaveLength(200)
  first.answer(Array.from({ length: 200 }, (_, i) => ok(i)))
  expect((await nextCall(2)).items).toHaveLength(100)
})
