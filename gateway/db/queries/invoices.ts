// The invoices of an account, and the credit notes, the newest first.

import { and, desc, eq, lt } from 'drizzle-orm'
import { invoicesView as invoices, creditNotesView as notes } from '../schema/read.ts'
import type { ReadDb } from './read-db.ts'

export interface InvoicePage {
  account_id: string
  limit: number
  /** Those before this one. */
  after_number?: number | undefined
}

export function listInvoices(db: ReadDb, { account_id, limit, after_number }: InvoicePage) {
  const before = after_number === undefined ? undefined : lt(invoices.number, after_number)
  return db
    .select()
    .from(invoices)
    .where(and(eq(invoices.account_id, BigInt(account_id)), before))
    .orderBy(desc(invoices.number))
    .limit(limit + 1)
}

export function listCreditNotes(db: ReadDb, { account_id, limit, after_number }: InvoicePage) {
  const before = after_number === undefined ? undefined : lt(notes.number, after_number)
  return db
    .select()
    .from(notes)
    .where(and(eq(notes.account_id, BigInt(account_id)), before))
    .orderBy(desc(notes.number))
    .limit(limit + 1)
}
