// /admin/accounts: opens, lists, shows and changes accounts.

import * as z from 'zod'
import type { Operator } from '../../auth/authenticate.ts'
import { ask } from '../../billing/ledger.ts'
import { query } from '../../db/query.ts'
import type { Call } from '../../env.ts'
import { pathId } from '../../field/id.ts'
import { limitFields } from '../../field/limits.ts'
import { overdraftNanousd } from '../../field/money.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { publicRow } from '../../field/public-row.ts'
import { readQuery } from '../../field/query.ts'
import { readBody } from '../../field/read-body.ts'
import { name } from '../../field/text.ts'
import { type Account, publicAccount } from '../account.ts'

const change = z.strictObject({ name, overdraft_nanousd: overdraftNanousd, ...limitFields }).partial()
const creation = change.extend({ name })
const page = pageQuery({})

export async function createAccount(c: Call, operator: Operator): Promise<Response> {
  const item = { ...(await readBody(c, creation)), created_by: c.var.operation.id, ...operator }
  const { account } = await ask<{ account: Account }>(c.env, 'create_account', item, 'created')
  return c.json(publicAccount(account), 201)
}

export async function listAccounts(c: Call): Promise<Response> {
  const wanted = readQuery(c, page)
  const accounts = await query(c.env, 'list_accounts', wanted)
  const shown = accounts.map((account) => publicAccount(publicRow(account)))
  return c.json(pageOf(shown, wanted.limit, ({ id }) => id))
}

export async function retrieveAccount(c: Call, operator: Operator): Promise<Response> {
  const { account } = await ask<{ account: Account }>(c.env, 'read_account', { ...operator, account_id: pathId(c) })
  return c.json(publicAccount(account))
}

export async function updateAccount(c: Call, operator: Operator): Promise<Response> {
  const item = { fields: await readBody(c, change), account_id: pathId(c), ...operator }
  const { account } = await ask<{ account: Account }>(c.env, 'update_account', item)
  return c.json(publicAccount(account))
}
