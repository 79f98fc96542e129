// Who may come in. A guard lets a request in and hands the endpoint who asks (or what they signed), or throws; each route of app.ts
// names one. Whether an account's key is known, valid and has the scope, the database decides in the call that comes anyway.

import type Stripe from 'stripe'
import { isKeyText, verifies } from '../contract/ed25519.ts'
import { JOB_REPORT_BYTES_MAX } from '../contract/internal/job.ts'
import { NODE_KEY_HEADER, NODE_SIGNATURE_HEADER } from '../contract/internal/sync.ts'
import type { Scope } from '../contract/public/key.ts'
import type { Role } from '../contract/public/operator.ts'
import {
  type Asker,
  type Caller,
  identify,
  identifyMonitor,
  identifyOperator,
  type Operator,
} from './auth/authenticate.ts'
import { verifiedEvent } from './billing/stripe.ts'
import type { Call } from './env.ts'
import { ApiError } from './error.ts'
import { readText } from './field/read-body.ts'

export type Who = 'anybody' | 'key' | 'operator' | 'monitor' | 'node' | 'stripe'

export interface Guard<W extends Who, A> {
  who: W
  scope: Scope | null
  /** A key needs no scope for what it asks about itself. */
  open_to_itself?: boolean
  /** `needed`: the role that the endpoint asks of an operator. */
  enter: (c: Call, needed: Role | null) => Promise<A>
  /** Whose an Idempotency-Key is, where the asker may bring one. */
  claimant?: (asker: A) => Asker & { scope?: Scope }
}

export const anybody: Guard<'anybody', null> = { who: 'anybody', scope: null, enter: async () => null }

export const operator: Guard<'operator', Operator> = {
  who: 'operator',
  scope: null,
  enter: identifyOperator,
  claimant: (asker) => asker,
}

/** Whoever watches the metrics, by a token for that alone. */
export const monitor: Guard<'monitor', null> = { who: 'monitor', scope: null, enter: identifyMonitor }

/** A key with this scope, or with `admin`; with null any key. */
export function key(scope: Scope | null, { open_to_itself = false } = {}): Guard<'key', Caller> {
  const needed = scope && !open_to_itself ? { scope } : {}
  return { who: 'key', scope, open_to_itself, enter: identify, claimant: (caller) => ({ ...caller, ...needed }) }
}

const SYNC_BYTES_MAX = 2 << 20
const NOT_SIGNED = 'The report is not signed by a node.'

/** What was signed by the holder of the key. Whose key it is, and whether it may, the database decides (hear_node). */
export interface SignedReport {
  text: string
  key: string
  signature: string
}

/** A node, by its signature over the report. */
export const node = signedBy(SYNC_BYTES_MAX)
/** The same with what a job said. */
export const nodeWithJob = signedBy(JOB_REPORT_BYTES_MAX)

function signedBy(bytes_max: number): Guard<'node', SignedReport> {
  return {
    who: 'node',
    scope: null,
    enter: async (c) => {
      const signature = c.req.header(NODE_SIGNATURE_HEADER) ?? ''
      const key = c.req.header(NODE_KEY_HEADER) ?? ''
      if (signature === '' || !isKeyText(key)) throw new ApiError('invalid_api_key', { message: NOT_SIGNED }) // and not read
      const text = await readText(c.req.raw, bytes_max)
      if (!(await verifies({ x: key }, 'report', text, signature)))
        throw new ApiError('invalid_api_key', { message: NOT_SIGNED })
      return { text, key, signature }
    },
  }
}

const EVENT_BYTES_MAX = 1 << 20

/** Stripe, by its signature over the event. */
export const stripe: Guard<'stripe', Stripe.Event> = {
  who: 'stripe',
  scope: null,
  enter: async (c) =>
    verifiedEvent(c.env, await readText(c.req.raw, EVENT_BYTES_MAX), c.req.header('stripe-signature') ?? ''),
}
