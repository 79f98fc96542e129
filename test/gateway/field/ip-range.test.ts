// Addresses and ranges that a key may be bound to. Postgres decides with them, so what it reads is what they mean: whatever is taken here
// it must read as the same. SEED=n repeats the drawn ones.

import { afterAll, beforeAll, expect, test } from 'vitest'
import { readRange } from '../../../gateway/field/ip-range.ts'
import { draws } from '../../support/draws.ts'
import { startTestPostgres, type TestPostgres } from '../../support/postgres.ts'
import { type Random, seededRandom } from '../../support/random.ts'

const DRAWS = draws('IP_RANGES', { few: 3_000, all: 200_000 })

let db: TestPostgres
beforeAll(async () => {
  db = await startTestPostgres()
})
afterAll(() => db?.stop())

test.each([
  ['10.1.2.3', '10.1.2.3/32'],
  ['0.0.0.0/0', '0.0.0.0/0'],
  ['10.1.0.0/16', '10.1.0.0/16'],
  ['255.255.255.255/32', '255.255.255.255/32'],
  ['2001:DB8::1', '2001:db8:0:0:0:0:0:1/128'],
  ['::/0', '0:0:0:0:0:0:0:0/0'],
  ['fe80::/10', 'fe80:0:0:0:0:0:0:0/10'],
  ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8/128'],
])('%s is %s', (text, range) => expect(readRange(text)).toEqual({ range }))

test.each([
  ...[
    '10.1/16',
    '010.0.0.1',
    '0x7f.1',
    '1',
    '127.1',
    '0x7f000001',
    '2130706433',
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '1.2.3.04',
  ],
  ...[
    '1.2.3.4/33',
    '1.2.3.4/032',
    '1.2.3.4/-1',
    '1.2.3.4/+8',
    '1.2.3.4/',
    '1.2.3.4/255.255.255.0',
    '1.2.3.4/8/8',
    '1.2.3.4 ',
  ],
  ...['10.1.2.3/8', '128.0.0.0/0', '2001:db8::1/32', '8000::/0'],
  ...['fe80::1%eth0', 'fe80::1%25eth0', '::1%lo/128', '[::1]', '::1]'],
  ...[
    '::ffff:1.2.3.4',
    '::ffff:102:304',
    '::1.2.3.4',
    '::ffff:0:0/96',
    '64:ff9b::1.2.3.4',
    '0:0:0:0:0:ffff:7f00:1/128',
  ],
  ...[
    ':::',
    '1::2::3',
    '12345::',
    '1:2:3:4:5:6:7',
    'g::1',
    ':1',
    '1:',
    '::1/129',
    '::1/0128',
    '',
    '/8',
    'localhost',
    '*',
    '１.2.3.4',
  ],
])('%s is refused by name', (text) => {
  const read = readRange(text)
  expect('error' in read && read.error).toMatch(/^expected /)
})

test('whatever is taken Postgres reads as the same, and no canonical range is refused', async () => {
  const random = seededRandom()
  const texts = Array.from({ length: DRAWS }, () => drawn(random))
  const taken = texts.flatMap((text) => {
    const read = readRange(text)
    return 'range' in read ? [{ text, range: read.range }] : []
  })
  expect(taken.length).toBeGreaterThan(DRAWS / 20)
  const differing = await db.sql`
    select t ->> 'text' as text, t ->> 'range' as range from jsonb_array_elements(${JSON.stringify(taken)}::text::jsonb) as t
    where (t ->> 'text')::cidr is distinct from (t ->> 'range')::cidr or family((t ->> 'text')::cidr) is distinct from
      case when t ->> 'text' like '%:%' then 6 else 4 end`
  expect(differing).toEqual([])
  const canonical = await db.sql`
    select distinct (t ->> 'range')::cidr::text as text from jsonb_array_elements(${JSON.stringify(taken)}::text::jsonb) as t`
  const refused = canonical.filter(({ text }) => 'error' in readRange(text as string))
  // Postgres writes the last four bytes of what was once "IPv4-compatible" in decimal; such addresses are of nobody.
  expect(refused.filter(({ text }) => !/^::\d+\.\d+\.\d+\.\d+/.test(text as string))).toEqual([])
})

/** A spelling of an address: proper, or in one of the ways in which readers differ. */
function drawn(random: Random): string {
  const byte = () => random.pick([random.below(256), 0, 255, 256, 300])
  const spelt = () =>
    random.pick([String(byte()), String(byte()), String(byte()), `0${byte()}`, `0x${byte().toString(16)}`, ''])
  const v4 = () =>
    Array.from({ length: random.pick([4, 4, 4, 4, 4, 3, 2, 1, 5]) }, () =>
      random.chance(0.9) ? String(byte()) : spelt(),
    ).join('.')
  const group = () => random.pick([random.below(0x10000), 0, 0xffff]).toString(16)
  const v6 = () => {
    const groups = Array.from({ length: random.pick([8, 8, 8, 7, 9, 6]) }, group)
    if (random.chance(0.5)) groups.splice(random.below(8), 1 + random.below(6), random.chance(0.8) ? '' : group())
    const text = groups.join(':')
    return random.pick([
      text,
      text,
      text.toUpperCase(),
      `::${text}`,
      `${text}::`,
      `::ffff:${v4()}`,
      `${text}%eth0`,
      `::${v4()}`,
    ])
  }
  const prefix = () => random.pick(['', '', `/${random.below(34)}`, `/${random.below(130)}`, '/0', '/08', '/-1', '/x'])
  const plain = random.pick([`${byte()}.0.0.0/8`, `${byte()}.${byte()}.0.0/16`, `${group()}:${group()}::/32`])
  return random.chance(0.2) ? plain : (random.chance(0.5) ? v4() : v6()) + prefix()
}
