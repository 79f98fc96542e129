// GET /admin/audit: what operators changed, the newest first; of one account or of one operator where it is asked for.

import * as shown from '../../../contract/public/audit.ts'
import * as pages from '../../../contract/public/page.ts'
import type { Operator } from '../../auth/authenticate.ts'
import { rowsOf } from '../../db/query.ts'
import { endpoint } from '../../endpoint.ts'
import { rowId } from '../../field/id.ts'
import { pageOf, pageQuery } from '../../field/page.ts'
import { publicRow } from '../../field/public-row.ts'
import { readQuery } from '../../field/query.ts'

const query = pageQuery({ account_id: rowId.optional(), operator_id: rowId.optional() })

export const listAudit = endpoint(
  {
    says: 'Lists what operators changed: who, what, before, after, when and from where.',
    query,
    answer: pages.pageOf(shown.auditRecord),
  },
  async (c, _: Operator) => {
    const wanted = readQuery(c, query)
    const records = await rowsOf(c.env, 'list_audit', wanted)
    const data = records.map((record): shown.AuditRecord => ({ object: 'audit_record', ...publicRow(record) }))
    return c.json(pageOf(data, wanted.limit, ({ id }) => id))
  },
)
