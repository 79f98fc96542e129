// GET /admin/credit-notes and /admin/credit-notes/{id}: those of any account.

import type { Operator } from '../../auth/authenticate.ts'
import { endpoint } from '../../endpoint.ts'
import { creditNoteId, rowId } from '../../field/id.ts'
import { pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { creditNoteEndpoint, listedCreditNotes, listing } from '../credit-notes.ts'

const query = pageQuery({ after: creditNoteId.optional(), account_id: rowId })

export const operatorsCreditNotes = {
  list: endpoint({ ...listing, query }, async (c, operator: Operator) =>
    listedCreditNotes(c, { ...readQuery(c, query), ...operator }),
  ),
  retrieve: creditNoteEndpoint<Operator>(),
}
