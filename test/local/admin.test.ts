// The operators' command line, against a gateway on workerd and its database.

import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isKeyText } from '../../contract/ed25519.ts'
import { commands, nanousd, perToken } from '../../local/admin-commands.ts'
import { run as runHere } from '../../local/admin-run.ts'
import { table } from '../../local/admin-table.ts'
import { freePort } from '../../local/port.ts'
import { model, startTestGateway, type TestGateway } from '../support/gateway.ts'
import { newSigner } from '../support/keys.ts'
import { eventually } from '../support/stack.ts'

const root = dirname(dirname(import.meta.dirname))
const scratch = mkdtempSync(join(tmpdir(), 'ziya-admin-'))
let gateway: TestGateway

beforeAll(async () => {
  gateway = await startTestGateway()
})
afterAll(async () => {
  await gateway?.stop()
  rmSync(scratch, { recursive: true, force: true })
})

interface Ran {
  code: number
  out: string
  err: string
}

/** In this process, which saves a start of Node each. */
async function run(args: string[], env: NodeJS.ProcessEnv = access()): Promise<Ran> {
  const ran = { code: 0, out: '', err: '' }
  ran.code = await runHere(args, {
    env: { ...process.env, ...env },
    print: (text) => {
      ran.out += `${text}\n`
    },
    complain: (text) => {
      ran.err += `${text}\n`
    },
  })
  return ran
}

/** As an operator's shell runs it. */
function runInShell(command: string[]): Promise<Ran> {
  return new Promise((done) => {
    execFile(process.execPath, command, { cwd: root, env: { ...process.env, ...access() } }, (error, out, err) => {
      done({ code: error ? Number(error.code) : 0, out, err })
    })
  })
}

function access(): NodeJS.ProcessEnv {
  return { GATEWAY_URL: gateway.url, ADMIN_KEY: gateway.admin_key }
}

/** The answer of a command that must succeed. */
async function json<A = Record<string, string>>(...args: string[]): Promise<A> {
  const { code, out, err } = await run([...args, '--json'])
  expect([code, err], `${args.join(' ')}: ${out}`).toEqual([0, ''])
  return JSON.parse(out) as A
}

async function newAccount(name = 'Ada'): Promise<string> {
  return (await json('accounts', 'create', name)).id!
}

test('an adapter is made known, given to an account and to all, listed and removed', async () => {
  const account_id = await newAccount()
  const create = (...more: string[]) => json('adapters', 'create', 'sql', '--model', model, ...more)
  expect(await create()).toMatchObject({ object: 'adapter', id: 'sql', base: model, account_id: null })
  expect(await create('--account', account_id)).toMatchObject({ account_id })
  const { data } = await json<{ data: { id: string; account_id: string }[] }>('adapters', 'list')
  expect(data).toMatchObject([{ id: 'sql', account_id }])
  for (const wrong of [
    ['sql', '--model', 'none'],
    [model, '--model', model],
    ['a/b', '--model', model],
    ['other', '--model', model, '--account', '999999'],
  ])
    expect((await run(['adapters', 'create', ...wrong])).code).toBe(1)
  expect(await json('adapters', 'remove', 'sql')).toMatchObject({ id: 'sql' })
  expect((await run(['adapters', 'remove', 'sql'])).code).toBe(1)
})

describe('a node', () => {
  test('is registered, listed, changed, drained, given another key and removed', async () => {
    const [first, second] = [(await newSigner()).x, (await newSigner()).x]
    const options = ['--node-url', 'https://gpu-1.example.com/', '--model', model]
    const created = await json('nodes', 'create', 'gpu-1', ...options, '--public-key', first)
    expect(created).toMatchObject({ object: 'node', id: 'gpu-1', url: 'https://gpu-1.example.com', state: null })
    expect(await json('nodes', 'create', 'gpu-1', ...options, '--public-key', first)).toEqual(created)
    const taken = await run(['nodes', 'create', 'gpu-2', ...options, '--public-key', first])
    expect([taken.code, taken.err]).toEqual([1, '✗ This is the key of another node. Each has one of its own.\n'])
    const other = await run(['nodes', 'create', 'gpu-1', ...options, '--public-key', second])
    expect([other.code, other.err]).toEqual([1, '✗ There is a node of this id, and it is registered otherwise.\n'])
    const { data } = await json<{ data: { id: string }[] }>('nodes', 'list')
    expect(data.map(({ id }) => id)).toEqual(['canned', 'gpu-1'])
    expect((await json<{ data: { id: string }[] }>('nodes', 'list', '--after', 'canned')).data).toHaveLength(1)
    const moved = await json('nodes', 'update', 'gpu-1', '--node-url', 'http://10.0.0.1:8080')
    expect(moved).toMatchObject({ url: 'http://10.0.0.1:8080', model })
    expect((await json('nodes', 'drain', 'gpu-1')).drained_at).not.toBeNull()
    expect((await json('nodes', 'resume', 'gpu-1')).drained_at).toBeNull()
    const rotated = await json('nodes', 'rotate', 'gpu-1', '--public-key', second, '--overlap', '600')
    expect(rotated).toMatchObject({ public_key: second, old_key_until: expect.stringMatching(/^20/) })
    expect(await json('nodes', 'show', 'gpu-1')).toEqual(rotated)
    expect(await json('nodes', 'remove', 'gpu-1')).toMatchObject({ id: 'gpu-1' })
    for (const words of [['show'], ['remove'], ['drain'], ['rotate', '--public-key', second]])
      expect((await run(['nodes', words[0]!, 'gpu-1', ...words.slice(1)])).code).toBe(1)
  })

  test('may have a key that begins with a dash or two', async () => {
    for (const [id, first] of [
      ['dash', '-'],
      ['dashes', '--'],
    ] as const) {
      let key = first
      while (!isKeyText(key)) key = first + randomBytes(32).toString('base64url').slice(first.length)
      const options = ['--public-key', key, '--node-url', `https://${id}.example.com`, '--model', model]
      expect(await json('nodes', 'create', id, ...options)).toMatchObject({ id, public_key: key })
      await json('nodes', 'remove', id)
    }
    const missing = await run(['nodes', 'create', 'x', '--public-key', '--model', model])
    expect(missing.code).toBe(2)
  })

  test.each([
    ['an id with a slash', 'a/b', {}],
    ['an address that is none', 'x', { '--node-url': 'gpu' }],
    ['an address of another protocol', 'x', { '--node-url': 'ftp://gpu' }],
    ['a model that is not served', 'x', { '--model': 'none' }],
    ['a key that is none', 'x', { '--public-key': 'short' }],
  ])('of %s is refused', async (_, id, changes) => {
    const right = { '--node-url': 'http://x', '--model': model, '--public-key': 'A'.repeat(43) }
    const { code, err } = await run(['nodes', 'create', id, ...Object.entries({ ...right, ...changes }).flat()])
    expect([code, err.startsWith('✗')]).toEqual([1, true])
  })
})

describe('an account', () => {
  test('is opened, credited, shown, changed and listed', async () => {
    const account = await json('accounts', 'create', 'Ada', '--overdraft', '0.5', '--requests-per-minute', '60')
    expect(account).toMatchObject({
      object: 'account',
      name: 'Ada',
      overdraft_nanousd: '500000000',
      requests_per_minute: 60,
    })
    const id = account.id!
    const top_up = await json('top-ups', 'create', id, '25.000000001', '--reference', `pay-${id}`)
    expect(await json('top-ups', 'create', id, '25.000000001', '--reference', `pay-${id}`)).toEqual(top_up)
    expect(await json('accounts', 'show', id)).toMatchObject({ balance_nanousd: '25000000001' })
    const changed = await json('accounts', 'update', id, '--name', 'Lovelace', '--requests-per-minute', 'none')
    expect(changed).toMatchObject({ name: 'Lovelace', requests_per_minute: null, overdraft_nanousd: '500000000' })
    const { data } = await json<{ data: { id: string }[] }>('accounts', 'list', '--limit', '1')
    expect(data.map((row) => row.id)).toEqual([id])
  })

  test('for the eye is a table whose columns line up, with amounts in dollars', async () => {
    const id = await newAccount('阿达')
    await json('top-ups', 'create', id, '12.5')
    const { out } = await run(['accounts', 'list', '--limit', '2'])
    const [head, row] = out.split('\n')
    expect(head).toMatch(/^id +name +balance_usd/)
    expect(row).toMatch(/阿达 +12\.50 /)
    expect((await run(['accounts', 'show', id])).out).toMatch(/^balance_usd +12\.50$/m)
  })

  test('pays as it is told, and is warned', async () => {
    const id = await newAccount()
    const changed = await json(
      'billing',
      'update',
      id,
      '--mode',
      'postpaid',
      '--alert-percents',
      '10',
      '--alert-amounts',
      '1,0.5',
    )
    const wanted = {
      billing_mode: 'postpaid',
      alert_percents: [10],
      alert_amounts_nanousd: ['1000000000', '500000000'],
    }
    expect(changed).toMatchObject(wanted)
    expect(await json('billing', 'update', id, '--alert-percents', 'none')).toMatchObject({ alert_percents: [] })
    expect(await json('billing', 'show', id)).toMatchObject({ ...wanted, alert_percents: [] })
  })

  test('has no invoice before its month is over', async () => {
    const id = await newAccount()
    expect(await json('invoices', 'list', id)).toMatchObject({ data: [] })
    expect((await run(['invoices', 'list', id])).out).toBe('nothing\n')
    expect(await run(['invoices', 'show', `inv_${id}_1`])).toMatchObject({ code: 1, err: '✗ There is nothing here.\n' })
  })
})

describe('a key', () => {
  const balance = (key: string) => fetch(`${gateway.url}/v1/balance`, { headers: { authorization: `Bearer ${key}` } })

  test('is made, used, changed, rotated and revoked', async () => {
    const account = await newAccount()
    const made = await json(
      'keys',
      'create',
      account,
      'laptop',
      '--scopes',
      'usage',
      '--tags',
      'a,b',
      '--expires',
      '2099-01-31',
    )
    expect(made).toMatchObject({ scopes: ['usage'], tags: ['a', 'b'] })
    expect((await balance(made.key!)).status).toBe(200)
    expect(await json('keys', 'update', made.id!, '--name', 'desk', '--expires', 'none')).toMatchObject({
      name: 'desk',
      expires_at: null,
    })
    const rotated = await json('keys', 'rotate', made.id!)
    expect([(await balance(made.key!)).status, (await balance(rotated.key!)).status]).toEqual([401, 200])
    await json('keys', 'revoke', rotated.id!)
    expect((await balance(rotated.key!)).status).toBe(401)
    const { data } = await json<{ data: Record<string, string>[] }>('keys', 'list', account)
    expect(data.map(({ id }) => id)).toEqual([rotated.id, made.id])
    expect(JSON.stringify(data)).not.toContain(made.key)
  })
})

describe('an operator', () => {
  test('is named, given a key, does what the role may, and is in the log', async () => {
    const account = await newAccount('watched')
    const { id } = await json('operators', 'create', 'Grace', '--role', 'support')
    const { key } = await json('operator-keys', 'create', id!, '--expires', '2099-01-31')
    const as = { ...access(), ADMIN_KEY: key! }
    expect(JSON.parse((await run(['operators', 'whoami', '--json'], as)).out)).toMatchObject({
      name: 'Grace',
      role: 'support',
    })
    expect(await run(['accounts', 'suspend', account], as)).toMatchObject({ code: 0 })
    expect(await run(['top-ups', 'create', account, '5'], as)).toMatchObject({
      code: 1,
      err: '✗ This needs the role finance.\n',
    })
    expect(await json('accounts', 'resume', account)).toMatchObject({ suspended_at: null })
    const { data } = await json<{ data: object[] }>('audit', 'list', '--account', account)
    expect(data).toMatchObject([
      { action: 'resume_account', operator_name: 'ADMIN_KEY' },
      { action: 'suspend_account', operator_name: 'Grace', operator_id: id },
      { action: 'create_account' },
    ])
    const rotated = JSON.parse((await run(['operator-keys', 'rotate', '--json'], as)).out) as { key: string }
    expect(await run(['operators', 'whoami'], as)).toMatchObject({ code: 1 })
    expect(await run(['operators', 'whoami'], { ...as, ADMIN_KEY: rotated.key })).toMatchObject({ code: 0 })
    expect(await json('operators', 'end', id!)).toMatchObject({ ended_at: expect.any(String) })
  })

  test('who typed it twice is told so', async () => {
    const account = await newAccount()
    const twice = ['top-ups', 'create', account, '5']
    await json(...twice)
    expect(await run(twice)).toMatchObject({
      code: 1,
      err: expect.stringMatching(/The same was booked \d+ s ago as entry \d+/),
    })
    await json(...twice, '--again')
    expect(await json('accounts', 'show', account)).toMatchObject({ balance_nanousd: '10000000000' })
  })

  test('says who sells, and who buys with an account', async () => {
    const account = await newAccount()
    expect(await json('seller', 'update', '--name', 'Ziya', '--address', 'a', '--country', 'GB')).toMatchObject({
      seller: { name: 'Ziya', tax_id: null },
    })
    const buyer = ['buyers', 'update', account, '--country', 'US', '--tax-name', 'Sales tax', '--tax-rate', '8.875']
    expect(await json(...buyer)).toMatchObject({ country: 'US', tax_rate_ppm: 88_750, is_reverse_charge: false })
    expect((await run(['buyers', 'update', account, '--tax-rate', 'much'])).err).toMatch(/not a rate in percent/)
    expect(await json('credit-notes', 'list', account)).toMatchObject({ data: [] })
  })
})

describe('money', () => {
  test('is granted, adjusted and given back, each once', async () => {
    const account = await newAccount()
    const caller = await gateway.newCaller('1000000000')
    const request = { model, prompt: 'x', max_tokens: 10 }
    const request_id = (await caller.post('/v1/completions', request)).headers.get('x-request-id')!
    const refund = ['refunds', 'create', caller.account_id, request_id, '--reference', `back-${request_id}`]
    await eventually(async () => ((await run(refund)).code === 0 ? true : null)) // once it is settled
    expect(await json(...refund)).toMatchObject({ kind: 'refund', request_id })
    expect((await run(['refunds', 'create', caller.account_id, request_id])).err).toMatch(/can still be refunded/)
    const receipt = await json('receipts', 'show', request_id)
    expect(receipt).toMatchObject({ request_id, state: 'posted', completion_tokens: 3 })
    const file = join(scratch, 'receipt.json')
    writeFileSync(file, JSON.stringify(receipt))
    expect(await json('receipts', 'verify', file)).toMatchObject({ valid: true, request_id })
    writeFileSync(file, JSON.stringify({ ...receipt, cost_nanousd: '1' }))
    expect(await run(['receipts', 'verify', file])).toMatchObject({
      code: 1,
      out: expect.stringMatching(/valid +false/),
    })
    writeFileSync(file, 'no receipt')
    expect(await run(['receipts', 'verify', file])).toMatchObject({
      code: 2,
      err: expect.stringMatching(/holds no receipt/),
    })
    const used = await json<{ data: object[] }>('usage', caller.account_id, '--by', 'model')
    expect(used.data).toMatchObject([{ model, requests: 1, completion_tokens: 3 }])
    const grant = await json('grants', 'create', account, '5', '--expires', '2099-01-01', '--note', 'welcome')
    expect(grant).toMatchObject({ kind: 'grant', amount_nanousd: '5000000000', note: 'welcome' })
    const down = ['adjustments', 'create', account, '--debit', '7', '--note', 'chargeback']
    expect((await run(down)).err).toMatch(/The balance does not cover this.*\(amount_nanousd\)/)
    expect(await json(...down, '--may-overdraw')).toMatchObject({ kind: 'adjustment_late_debit' })
    expect(await json('adjustments', 'create', account, '--credit', '0.5', '--note', 'n')).toMatchObject({
      kind: 'adjustment_credit',
    })
    expect(await json('accounts', 'show', account)).toMatchObject({ balance_nanousd: '-1500000000' })
  })

  test('that could not be charged to anybody is listed, with what was reported', async () => {
    const caller = await gateway.newCaller('1000000000')
    await caller.post('/v1/completions', { model, prompt: 'x', max_tokens: 10 })
    const record = { ...gateway.node.records.at(-1)!, ticket: 'not ours' }
    await gateway.node.report([record])
    const { request_id } = record
    const { data } = await json<{ data: object[] }>('anomalies', 'list', '--request', request_id)
    expect(data).toMatchObject([{ kind: 'bad_ticket', request_id, node_id: 'canned', detail: { record } }])
    expect((await run(['anomalies', 'list', '--limit', '1'])).out).toMatch(/^id +created_at +kind.*\n.* bad_ticket /)
  })

  test('has its prices published and listed, a list price and one for an account', async () => {
    const account = await newAccount()
    const published = await json(
      'prices',
      'publish',
      'a-model',
      '--input',
      '0.6',
      '--cached',
      '0.15',
      '--output',
      '1.8',
    )
    const wanted = {
      input_nanousd_per_token: '600',
      cached_input_nanousd_per_token: '150',
      output_nanousd_per_token: '1800',
    }
    expect(published).toMatchObject({ model: 'a-model', ...wanted })
    const agreed = ['prices', 'publish', 'a-model', '--input', '0.5', '--output', '1', '--account', account]
    expect(await json(...agreed, '--from', '2099-01-01')).toMatchObject({ account_id: account })
    const { data } = await json<{ data: object[] }>('prices', 'list', '--model', 'a-model')
    expect(data).toEqual(expect.arrayContaining([expect.objectContaining(wanted)]))
    expect((await run(['prices', 'list', '--model', 'a-model'])).out).toMatch(/input_usd_per_million/)
  })

  test('has its catalog shown, changed and published', async () => {
    expect((await run(['catalog', 'list'])).out).toMatch(/^id +aliases.*\nziya-coding-mini /)
    const { out } = await run(['catalog', 'show', '--json'])
    const file = join(scratch, 'catalog.json')
    writeFileSync(file, out.replace('"ziya-coding-mini"', '"ziya-coding-mini","aliases":["mini"]'))
    expect(await json('catalog', 'publish', file)).toMatchObject({ object: 'catalog', source: 'operator' })
    expect((await run(['catalog', 'list'])).out).toMatch(/\nziya-coding-mini +mini /)
    writeFileSync(file, '{"models": []}')
    expect((await run(['catalog', 'publish', file])).code).not.toBe(0)
  })

  test('is reconciled: an exit code of 0 where the books balance, and of 1 where they do not', async () => {
    const account = await newAccount()
    await json('top-ups', 'create', account, '1')
    expect(await json('reconcile', '--anew')).toMatchObject({ object: 'reconciliation', status: 'ok' })
    await gateway.db.sql`update accounts set credited_nanousd = credited_nanousd + 1 where id = ${account}`
    const drift = await run(['reconcile', '--anew', '--json'])
    expect([drift.code, JSON.parse(drift.out).status]).toEqual([1, 'drift'])
    await gateway.db.sql`update accounts set credited_nanousd = credited_nanousd - 1 where id = ${account}`
    expect((await run(['reconcile', '--anew'])).code).toBe(0)
  })
})

describe('what goes wrong', () => {
  test.each([
    ['a command that is not one', ['accounts', 'burn'], 2, /there is no command 'accounts burn'/],
    ['an option that is not one', ['accounts', 'list', '--colour', 'red'], 2, /--colour/],
    ['a missing argument', ['accounts', 'create'], 2, /takes <name>/],
    ['a missing option', ['grants', 'create', '1', '5'], 2, /--expires is missing/],
    ['nothing to change', ['accounts', 'update', '1'], 2, /nothing to change/],
    ['an amount with too many digits', ['top-ups', 'create', '1', '0.0000000001'], 2, /not an amount in dollars/],
    [
      'an amount below zero',
      ['adjustments', 'create', '1', '--debit=-5', '--note', 'n'],
      2,
      /not an amount in dollars/,
    ],
    ['an id that is none', ['accounts', 'show', '../x'], 2, /'..\/x' is not an id/],
    ['an account that is not there', ['accounts', 'show', '999999'], 1, /There is nothing here/],
    ['a value that the gateway refuses', ['keys', 'create', '1', 'k', '--scopes', 'root'], 1, /scopes/],
  ])('%s', async (_, args, code, message) => {
    const ran = await run(args)
    expect([ran.code, ran.out]).toEqual([code, ''])
    expect(ran.err).toMatch(message)
    expect(ran.err).not.toMatch(/ at .*\.ts:/)
    const as_json = await run([...args, '--json'])
    expect([as_json.code, JSON.parse(as_json.out).error.message]).toEqual([code, expect.stringMatching(message)])
  })

  test('a wrong operator key', async () => {
    const ran = await run(['accounts', 'list', '--admin-key', 'a-key-that-is-wrong'])
    expect(ran).toMatchObject({ code: 1, err: '✗ the gateway does not know this operator key\n' })
  })

  test('no gateway there', async () => {
    const ran = await run(['accounts', 'list', '--url', `http://127.0.0.1:${await freePort()}`])
    expect(ran.code).toBe(3)
    expect(ran.err).toMatch(/does not answer \(ECONNREFUSED\)/)
  })

  test('something else there', async () => {
    expect(await run(['accounts', 'list', '--url', gateway.node.url])).toMatchObject({
      code: 3,
      err: expect.stringMatching(/no gateway of ours/),
    })
  })
})

test('every command explains itself', async () => {
  const overview = await run([])
  for (const { words, description } of commands) {
    expect(overview.out).toContain(words.join(' '))
    expect(overview.out).toContain(description)
  }
  const help = await run(['keys', 'create', '--help'])
  expect(help).toMatchObject({ code: 0, err: '' })
  expect(help.out).toMatch(/keys create <account> <name>/)
  expect(help.out).toMatch(/--expires TIME +when it ends/)
  expect((await run(['keys', '--help'])).out).not.toContain('accounts')
})

test('through npm its output is the answer and nothing else', async () => {
  const id = await newAccount()
  const ran = await runInShell([join('local', 'bootstrap.mjs'), 'admin', 'accounts', 'show', id, '--json'])
  expect(JSON.parse(ran.out)).toMatchObject({ id })
})

test('in a shell a refusal is its exit code and a line of its errors', async () => {
  const ran = await runInShell(['local/admin.ts', 'accounts', 'show', '999999'])
  expect(ran).toMatchObject({ code: 1, out: '' })
  expect(ran.err).toMatch(/^✗ .*\n$/)
})

test.each([
  ['0', '0'],
  ['25', '25000000000'],
  ['$0.005', '5000000'],
  ['9999999999.999999999', '9999999999999999999'],
])('%s dollars are %s nano-USD', (usd, expected) => {
  expect(nanousd(usd)).toBe(expected)
})

test('a price for a million tokens is one for a token, or refused', () => {
  expect(perToken('0.6')).toBe('600')
  expect(() => perToken('0.0000005')).toThrow('no whole number')
})

test('a table shows nothing that a terminal would obey', () => {
  expect(table({ data: [{ id: '1', name: '\u001b[31mred\u202e' }] })).toBe('id  name\n 1  \ufffd[31mred\ufffd')
})
