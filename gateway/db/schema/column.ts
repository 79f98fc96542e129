// Kinds of columns that several tables have.

import { sql } from 'drizzle-orm'
import { bigint, customType, timestamp } from 'drizzle-orm/pg-core'

/** A count, an id or an amount of nano-USD: a number in JavaScript would round it. */
export const int8 = () => bigint({ mode: 'bigint' })

export const moment = () => timestamp({ withTimezone: true })

/** The moment at which the row is written, unless another is given. It is not that at which the transaction began. */
export const writtenAt = () => moment().notNull().default(sql`clock_timestamp()`)

/** An id that the database numbers. */
export const numberedId = () => int8().primaryKey().generatedAlwaysAsIdentity()

/** drizzle-orm has no type for bytes. postgres.js gives and takes them as a Uint8Array. */
export const bytea = customType<{ data: Uint8Array; driverData: Uint8Array }>({ dataType: () => 'bytea' })
