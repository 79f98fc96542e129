// GET /admin/usage: the sums of an account's days. GET /admin/usage/{request_id}: a request of any account as a signed receipt.

import * as z from 'zod'
import type { Operator } from '../../auth/authenticate.ts'
import type { Call } from '../../env.ts'
import { rowId } from '../../field/id.ts'
import { readQuery } from '../../field/query.ts'
import { receipt } from '../usage.ts'
import { groups, reportUsage, span } from '../usage-report.ts'

const query = z.strictObject({ ...span, by: groups.prefault('day'), account_id: rowId })

export function reportAccountUsage(c: Call, operator: Operator): Promise<Response> {
  const { by, account_id, ...rest } = readQuery(c, query)
  return reportUsage(c, { asker: { ...operator, account_id }, group_by: by, ...rest })
}

export function retrieveAnyUsage(c: Call, operator: Operator): Promise<Response> {
  return receipt(c, operator)
}
