// /admin/accounts: opens, lists, shows, changes, suspends and resumes accounts. How far one may go below zero is a matter of finance.

import * as z from 'zod'
import * as shown from '../../../contract/public/account.ts'
import * as pages from '../../../contract/public/page.ts'
import { mayDo, type Operator } from '../../auth/authenticate.ts'
import { ask, obtain } from '../../db/ask.ts'
import { rowsOf } from '../../db/query.ts'
import { endpoint } from '../../endpoint.ts'
import type { Call } from '../../env.ts'
import { ApiError } from '../../error.ts'
import { pathId } from '../../field/id.ts'
import { limitFields } from '../../field/limits.ts'
import { overdraftNanousd } from '../../field/money.ts'
import { name } from '../../field/name.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { publicRow } from '../../field/public-row.ts'
import { readQuery } from '../../field/query.ts'
import { readBody } from '../../field/read-body.ts'
import { publicAccount } from '../account.ts'

const change = z.strictObject({ name, overdraft_nanousd: overdraftNanousd, ...limitFields }).partial()
const creation = change.extend({ name })
const query = pageQuery({})

export const createAccount = endpoint(
  { says: 'Opens an account.', body: creation, answer: shown.account, statuses: [201] },
  async (c, operator: Operator) => {
    const item = { ...permitted(c, await readBody(c, creation)), created_by: c.var.operation.id, ...operator }
    const { account } = await ask(c.env, 'create_account', item)
    return c.json(publicAccount(account), 201)
  },
)

export const listAccounts = endpoint(
  { says: 'Lists the accounts, the newest first.', query, answer: pages.pageOf(shown.account) },
  async (c, _: Operator) => {
    const wanted = readQuery(c, query)
    const accounts = await rowsOf(c.env, 'list_accounts', wanted)
    const data = accounts.map((account) => publicAccount(publicRow(account)))
    return c.json(pageOf(data, wanted.limit, ({ id }) => id))
  },
)

export const retrieveAccount = endpoint(
  { says: 'Shows an account.', answer: shown.account },
  async (c, operator: Operator) => {
    const { account } = await obtain(c.env, 'read_account', { ...operator, account_id: pathId(c) }, 'allowed')
    return c.json(publicAccount(account))
  },
)

export const updateAccount = endpoint(
  { says: 'Changes what is given of an account.', body: change, answer: shown.account },
  async (c, operator: Operator) => {
    const item = { fields: permitted(c, await readBody(c, change)), account_id: pathId(c), ...operator }
    const { account } = await obtain(c.env, 'update_account', item, 'allowed')
    return c.json(publicAccount(account))
  },
)

export const suspendAccount = endpoint(
  { says: 'Suspends an account: what runs is stopped, and nothing new is let in.', answer: shown.account },
  async (c, operator: Operator) => {
    const { account } = await obtain(c.env, 'suspend_account', { ...operator, account_id: pathId(c) }, 'allowed')
    return c.json(publicAccount(account))
  },
)

export const resumeAccount = endpoint(
  { says: 'Resumes an account that is suspended.', answer: shown.account },
  async (c, operator: Operator) => {
    const { account } = await obtain(c.env, 'resume_account', { ...operator, account_id: pathId(c) }, 'allowed')
    return c.json(publicAccount(account))
  },
)

/** The fields, where the asker's role is enough for all of them. */
function permitted<F extends { overdraft_nanousd?: string | undefined }>(c: Call, fields: F): F {
  if (fields.overdraft_nanousd !== undefined && !mayDo(c.get('role'), 'finance'))
    throw new ApiError('missing_role', { param: 'overdraft_nanousd', message: 'This needs the role finance.' })
  return fields
}
