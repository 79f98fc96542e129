import { expect, test } from 'vitest'
import { Turns } from '../../../gpu-node/serve/turns.ts'
import { seededRandom } from '../../support/random.ts'

test('accounts have turns in turn, each its own in order, one a turn of the event loop', async () => {
  const random = seededRandom()
  for (let round = 0; round < 20; round++) {
    const turns = new Turns()
    const asked = Array.from({ length: 1 + random.below(40) }, () => random.pick(['a', 'b', 'c']))
    const had: number[] = []
    let in_one_turn = 0
    let most_in_one_turn = 0
    await Promise.all(
      asked.map(async (account, i) => {
        await turns.take(account)
        had.push(i)
        in_one_turn += 1
        most_in_one_turn = Math.max(most_in_one_turn, in_one_turn)
        setImmediate(() => {
          in_one_turn = 0
        })
      }),
    )
    expect(most_in_one_turn).toBeLessThanOrEqual(2) // its own, and the one that ran before the count was taken back
    const places = (account: string) => had.flatMap((i, place) => (asked[i] === account ? [place] : []))
    for (const account of ['a', 'b', 'c']) {
      const own = had.filter((i) => asked[i] === account)
      expect(own).toEqual(own.toSorted((a, b) => a - b))
      for (const other of ['a', 'b', 'c'].filter((one) => one !== account && asked.includes(one)))
        for (const [n, place] of places(account).entries())
          expect(places(other).filter((theirs) => theirs < place).length).toBeLessThanOrEqual(n + 1)
    }
  }
})

test('a thousand of one account delay the first of another by one', async () => {
  const turns = new Turns()
  const had: string[] = []
  const all = Array.from({ length: 1000 }, () => turns.take('many').then(() => had.push('many')))
  await turns.take('one')
  expect(had.length).toBeLessThanOrEqual(1)
  await Promise.all(all)
  expect(had.length).toBe(1000)
})
