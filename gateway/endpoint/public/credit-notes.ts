// GET /v1/credit-notes and /v1/credit-notes/{id}: an account's own.

import type { Caller } from '../../auth/authenticate.ts'
import { endpoint } from '../../endpoint.ts'
import { creditNoteId } from '../../field/id.ts'
import { pageQuery } from '../../field/page.ts'
import { readQuery } from '../../field/query.ts'
import { creditNoteEndpoint, listedCreditNotes, listing } from '../credit-notes.ts'

const query = pageQuery({ after: creditNoteId.optional() })

export const ownCreditNotes = {
  list: endpoint({ ...listing, query }, async (c, caller: Caller) =>
    listedCreditNotes(c, { ...readQuery(c, query), ...caller }),
  ),
  retrieve: creditNoteEndpoint<Caller>(),
}
