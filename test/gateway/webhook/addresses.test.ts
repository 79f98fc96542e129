// Webhooks go to public addresses and nowhere else: every class of address that is not public, in every spelling of a URL, is refused
// when it is saved, and where it is there all the same, nothing is connected to.
//   bash test/gateway/webhook/every-address.sh     as root: where every address there is leads to the machine itself, all of them

import { isIPv6 } from 'node:net'
import ipaddr from 'ipaddr.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isIn, mayReach, NOT_PUBLIC, networkRules } from '../../../gateway/webhook/public-address.ts'
import { readTarget } from '../../../gateway/webhook/target.ts'
import { NOT_PUBLIC_ADDRESSES, PUBLIC_ADDRESSES, spellingsOf } from '../../support/addresses.ts'
import { draws } from '../../support/draws.ts'
import { type Caller, callerOf, errorOf, startTestGateway, type TestGateway } from '../../support/gateway.ts'
import { type Random, seededRandom } from '../../support/random.ts'
import { type Receiver, startReceiver } from '../../support/receiver.ts'

const SENT = draws('ADDRESSES', { few: 40, all: 10_000 })
// Where the script has seen to it that any address is this machine's.
const EVERYWHERE = process.env.EVERY_ADDRESS_IS_HERE === 'yes'

const rules = { allowed: [], own_host: 'api.example.com' }

describe('a URL that is saved', () => {
  test('has no host that is not public, whatever it is spelled like', () => {
    const urls = NOT_PUBLIC_ADDRESSES.map((address) => spellingsOf(address))
    expect(urls.length).toBeGreaterThanOrEqual(55)
    expect(Math.min(...urls.map((spellings) => new Set(spellings).size))).toBeGreaterThanOrEqual(29)
    expect(urls.flat().filter((url) => 'url' in readTarget(url, rules))).toEqual([])
  })

  test('may have a public one', () => {
    for (const address of PUBLIC_ADDRESSES) {
      const host = isIPv6(address) ? `[${address}]` : address
      for (const url of [`https://${host}/hook`, `https://${host}:8443/`, `HTTPS://${host}:9000/?a=b#c`])
        expect(readTarget(url, rules)).toHaveProperty('url')
    }
    expect(readTarget('https://Hooks.Customer.com./a b#c', rules)).toEqual({ url: 'https://hooks.customer.com./a%20b' })
  })

  test.each([
    ['http://example.com/', 'https'],
    ['ftp://example.com/', 'https'],
    ['mailto:me@example.com', 'https'],
    ['javascript:1', 'https'],
    ['/hook', 'URL'],
    ['https://', 'URL'],
    [`https://customer.com/${'x'.repeat(2050)}`, 'URL'],
    ['https://me:secret@customer.com/', 'password'],
    ['https://me@customer.com/', 'name'],
    ['https://:secret@customer.com/', 'password'],
    ['https://customer.com:22/', 'port'],
    ['https://customer.com:5432/', 'port'],
    ['https://api.example.com/v1/keys', 'itself'],
    ...[
      'localhost',
      'LOCALHOST.',
      'a.localhost',
      'printer',
      'db.internal',
      'nas.local',
      'host.home.arpa',
      'x.lan',
      'x.onion',
    ].map((name): [string, string] => [`https://${name}/`, 'public']),
  ])('%s is refused, and why', (url, why) => {
    expect(readTarget(url, rules)).toEqual({ error: expect.stringContaining(why) })
  })

  test('may be of a range that the operator opened, by plain HTTP, too, and of no other', () => {
    const opened = { ...rules, allowed: ['127.0.0.1/32', '10.1.0.0/16', 'fd00::/8'] }
    for (const url of ['http://127.0.0.1:80/', 'https://10.1.2.3/', 'http://[fd00::1]:25/'])
      expect(readTarget(url, opened)).toHaveProperty('url')
    for (const url of [
      'http://127.0.0.2/',
      'https://10.2.0.1/',
      'https://[fc00::1]/',
      'http://1.1.1.1/',
      'http://[::ffff:127.0.0.1]/',
    ])
      expect(readTarget(url, opened)).toHaveProperty('error')
  })
})

describe('the list of what is not public', () => {
  test('is what the registries say, also at the ends of each range', () => {
    const random = seededRandom()
    for (const address of [...edges(), ...Array.from({ length: 5000 }, () => randomAddress(random))]) {
      const parsed = ipaddr.parse(address)
      const is_given_out = parsed.kind() === 'ipv4' || isIn(parsed, ['2000::/3'])
      expect([address, mayReach(address, [])]).toEqual([address, is_given_out && parsed.range() === 'unicast'])
    }
  })

  test('an opened range is narrower in the rules than what it is taken from', () => {
    expect(networkRules(['10.0.0.0/8', '127.0.0.1/32', 'fc00::/7']).allow).toEqual([
      'public',
      ...['10.0.0.0/9', '10.128.0.0/9', '127.0.0.1/32', 'fc00::/8', 'fd00::/8'],
    ])
  })
})

/** The first and the last address of each range, and their neighbours. */
function edges(): string[] {
  return NOT_PUBLIC.flatMap((range) => {
    const [network, bits] = ipaddr.parseCIDR(range)
    const bytes = network.toByteArray()
    const size = BigInt(8 * bytes.length)
    const first = bytes.reduce((sum, byte) => sum * 256n + BigInt(byte), 0n)
    const last = first + (1n << (size - BigInt(bits))) - 1n
    return [first - 1n, first, last, last + 1n]
      .filter((n) => n >= 0n && n < 1n << size)
      .map((n) => addressOf(n, bytes.length))
  })
}

function addressOf(number: bigint, length: number): string {
  return ipaddr
    .fromByteArray(Array.from({ length }, (_, i) => Number((number >> BigInt(8 * (length - 1 - i))) & 255n)))
    .toString()
}

function randomAddress(random: Random): string {
  const length = random.pick([4, 16])
  const bytes = Array.from({ length }, () => random.below(256))
  if (length === 16 && random.chance(0.8)) bytes[0] = 0x20 + random.below(0x20)
  return ipaddr.fromByteArray(bytes).toString()
}

describe('the gateway', () => {
  let gateway: TestGateway
  let caller: Caller
  let sentinel: Receiver
  let redirecting: Receiver
  const random = seededRandom()

  beforeAll(async () => {
    sentinel = await startReceiver('::')
    redirecting = await startReceiver('127.0.0.2')
    gateway = await startTestGateway({ WEBHOOK_ALLOWED_RANGES: '127.0.0.2/32', WEBHOOK_WATCH_MS: '1' })
    const { account_id } = await gateway.newCaller('0')
    const made = await gateway.admin('/admin/keys', { account_id, name: 'hooks', scopes: ['admin'] })
    const { id, key } = (await made.json()) as { id: string; key: string }
    caller = callerOf(gateway.url, { api_key: key, account_id, key_id: id })
  })
  afterAll(async () => {
    await gateway?.stop()
    await sentinel?.stop()
    await redirecting?.stop()
  })

  const port = () => `:${new URL(sentinel.url).port}`
  const drawn = (urls: string[]) => (SENT >= urls.length ? urls : Array.from({ length: SENT }, () => random.pick(urls)))
  const spelled = (scheme: string) => NOT_PUBLIC_ADDRESSES.flatMap((address) => spellingsOf(address, scheme, port()))

  test('refuses to save them', async () => {
    for (const url of drawn(spelled('https')).slice(0, SENT)) {
      const answer = await caller.post('/v1/webhook_endpoints', { name: 'x', url, event_types: ['key.created'] })
      expect({ url, ...(await errorOf(answer)) }).toMatchObject({
        url,
        status: 400,
        code: 'url_not_allowed',
        param: 'url',
      })
    }
  })

  /** Sends an event to each of these URLs, which nobody has looked at before; what was noted of the attempts. */
  async function sendTo(urls: string[]): Promise<{ url: string; status: number | null; error: string | null }[]> {
    const { sql } = gateway.db
    const [{ id: event_id }] = (await sql`
      insert into outbox (account_id, type, body) values (${caller.account_id}, 'key.created', '{}') returning id`) as unknown as [
      { id: string },
    ]
    const endpoints = await sql`
      insert into webhook_endpoints (account_id, created_by, name, url, event_types)
      select ${caller.account_id}, gen_random_uuid(), 'x', url, '{key.created}'
      from jsonb_array_elements_text(${JSON.stringify(urls)}::text::jsonb) as url returning id`
    await sql`
      insert into webhook_deliveries (account_id, endpoint_id, event_id, due_at)
      select ${caller.account_id}, id::bigint, ${event_id}, clock_timestamp()
      from jsonb_array_elements_text(${JSON.stringify(endpoints.map(({ id }) => id))}::text::jsonb) as id`
    for (let left = 1; left > 0; ) {
      await gateway.runScheduled()
      const [row] =
        await sql`select count(*)::int as left from webhook_deliveries where event_id = ${event_id} and tries = 0`
      left = row!.left
    }
    return (await sql`
      select url, attempts -> 0 -> 'status' as status, attempts -> 0 ->> 'error' as error
      from webhook_deliveries d join webhook_endpoints e on e.id = d.endpoint_id where event_id = ${event_id}`) as never
  }

  test('connects to none that is there all the same, nor to a name that stands for one', async () => {
    const names = [`http://localhost${port()}/`, `http://localhost.${port()}/`, `http://ip6-localhost${port()}/`]
    const rebound = EVERYWHERE ? [`http://rebound.customer.com${port()}/`] : []
    const urls = [...drawn(spelled('http')), ...drawn(spelled('https')), ...names, ...rebound]
    const sent = await sendTo(urls)
    expect(sent).toHaveLength(urls.length)
    expect(sent.filter(({ error }) => error !== 'no connection')).toEqual([])
    expect(sentinel.connections).toBe(0)
    console.log(`${urls.length} URLs of ${NOT_PUBLIC_ADDRESSES.length} addresses: ${sentinel.connections} connections`)
  })

  test('follows no redirect to one', async () => {
    const locations = drawn([...spelled('http'), sentinel.url, '//localhost/', redirecting.url]).filter(
      (url) => !/[^\x21-\x7e]/.test(url),
    )
    for (const [i, status] of [301, 302, 303, 307, 308].entries()) {
      const [location] = locations.splice(0, 1)
      redirecting.behaviour = (_, response) => void response.writeHead(status, { location }).end()
      expect(await sendTo([`${redirecting.url}/${i}`])).toMatchObject([{ status, error: null }])
    }
    const turns = locations.map((_, i) => `${redirecting.url}/turn-${i}`)
    redirecting.behaviour = ({ path }, response) =>
      void response.writeHead(307, { location: locations[Number(path.split('-')[1])] }).end()
    const sent = await sendTo(turns)
    expect(sent.filter(({ status }) => status !== 307)).toEqual([])
    expect(sentinel.connections).toBe(0)
    expect(redirecting.received.filter(({ path }) => !/^\/(\d|turn-\d+)$/.test(path))).toEqual([])
  })

  test.runIf(EVERYWHERE)('where every address is here, public ones reach the sentinel', async () => {
    const sent = await sendTo(
      PUBLIC_ADDRESSES.map((address) => `http://${isIPv6(address) ? `[${address}]` : address}${port()}/`),
    )
    expect(sent.filter(({ status }) => status !== 200)).toEqual([])
    expect(sentinel.connections).toBe(PUBLIC_ADDRESSES.length)
  })
})
