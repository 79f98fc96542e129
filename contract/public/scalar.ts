// The values that the public shapes are made of, as they travel in JSON.

import * as z from 'zod'

/** An amount of money: nano-USD as a decimal string, because a bigint may not fit a JavaScript number. Never a float. */
export const nanousd = z.string().regex(/^-?\d+$/)

/** The id of a row: a bigint as a decimal string. */
export const id = z.string().regex(/^[1-9]\d*$/)

/** A name that a request or a record was given by whoever made it. */
export const uuid = z.guid()

/** A moment in UTC, to the millisecond. */
export const moment = z.iso.datetime({ precision: 3 })

/** A day in UTC. */
export const day = z.iso.date()

/** A count of something; never negative. */
export const count = z.int().min(0)

/** A count that may go beyond what a JavaScript number holds exactly: a decimal string. */
export const longCount = z.string().regex(/^\d+$/)
