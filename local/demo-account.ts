// The account of `npm start`: made once through the admin API, as an operator would, and kept with its key in the data folder.

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface AdminAccess {
  gateway_url: string
  admin_key: string
}

const credit_nanousd = '10000000000' // ten dollars

/** The demo account's key. Made anew where the kept one is not known to this database. */
export async function openDemoAccount(access: AdminAccess, data_dir: string): Promise<{ api_key: string }> {
  const file = join(data_dir, 'demo-account.json')
  const kept = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as { api_key: string }) : null
  if (kept && (await isAccepted(access, kept.api_key))) return kept
  const made = await createFundedKey(access, 'demo', credit_nanousd)
  writeFileSync(file, JSON.stringify(made), { mode: 0o600 })
  return made
}

/** An account with that much credit, and a key that may generate and read usage. */
export async function createFundedKey(
  access: AdminAccess,
  name: string,
  amount_nanousd: string,
): Promise<{ account_id: string; key_id: string; api_key: string }> {
  const account = await post(access, '/admin/accounts', { name })
  const reference = crypto.randomUUID()
  if (amount_nanousd !== '0')
    await post(access, '/admin/top-ups', { account_id: account.id, amount_nanousd, reference })
  const key = await post(access, '/admin/keys', { account_id: account.id, name })
  return { account_id: account.id!, key_id: key.id!, api_key: key.key! }
}

async function isAccepted({ gateway_url }: AdminAccess, api_key: string): Promise<boolean> {
  return (await fetch(`${gateway_url}/v1/balance`, { headers: { authorization: `Bearer ${api_key}` } })).ok
}

async function post(
  { gateway_url, admin_key }: AdminAccess,
  path: string,
  body: object,
): Promise<Record<string, string>> {
  const response = await fetch(gateway_url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${admin_key}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (!response.ok) throw new Error(`POST ${path} answered ${response.status}: ${await response.text()}`)
  return (await response.json()) as Record<string, string>
}
