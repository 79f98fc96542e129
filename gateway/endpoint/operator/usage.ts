// GET /admin/usage: the sums of an account's days. GET /admin/usage/{request_id}: a request of any account as a signed receipt.

import * as z from 'zod'
import * as shown from '../../../contract/public/usage.ts'
import type { Operator } from '../../auth/authenticate.ts'
import { endpoint } from '../../endpoint.ts'
import { rowId } from '../../field/id.ts'
import { readQuery } from '../../field/query.ts'
import { receiptOf } from '../usage.ts'
import { groups, reportUsage, span } from '../usage-report.ts'

const query = z.strictObject({ ...span, by: groups.prefault('day'), account_id: rowId })

export const reportAccountUsage = endpoint(
  { says: 'Adds up what an account used.', query, answer: shown.usageReport, also: { 'text/csv': null } },
  async (c, operator: Operator) => {
    const { by, account_id, ...rest } = readQuery(c, query)
    return reportUsage(c, { asker: { ...operator, account_id }, group_by: by, ...rest })
  },
)

export const retrieveAnyUsage = endpoint(
  { says: 'Shows what a request used and cost, as a signed receipt.', answer: shown.receipt },
  (c, operator: Operator) => receiptOf(c, operator),
)
