// A request's way through the ledger: admitted, given to its next attempt, settled, given back, expired.

import * as z from 'zod'
import { count, id, nanousd, uuid } from '../../../contract/public/scalar.ts'
import { condition, ended, journalCounted, journalPosition } from '../../field/report.ts'
import { caller, keyHash, keyRefusals } from './asker.ts'
import { byId, verdicts, wish } from './verdict.ts'

const node = z.strictObject({ id: z.string(), url: z.string(), running: count, waiting: count })

/** What is left of one limit: of the key's and the account's, the tighter. */
const shownLimit = z.strictObject({ limit: count, remaining: count, reset_us: count })

const shownLimits = z.strictObject({
  requests: shownLimit.exactOptional(),
  tokens: shownLimit.exactOptional(),
  retry_us: count.nullable().exactOptional(), // of a refusal: when the same request would be admitted
})

/** `locked` is an answer, where somebody else holds the account for longer. Without it the call fails for all that go with it. */
const lockable = { lock_ms_max: z.int().min(1).optional() }

/** What a request could cost, beside what may be spent. */
const quota = z.strictObject({
  bound: z.enum(['key_cap', 'account_cap', 'balance']), // that refused it
  limit_nanousd: nanousd, // the cap, or the balance
  overdraft_nanousd: nanousd, // of the balance
  held_nanousd: nanousd, // by requests that run
  left_nanousd: nanousd,
  asked_nanousd: nanousd,
  max_tokens: count.nullable(), // that would fit, a choice; null where none would
})

const admitted = z.strictObject({
  decision: z.literal('admitted'),
  account_id: id,
  key_id: id,
  price_version: z.int().min(1),
  reserved_nanousd: nanousd,
  balance_nanousd: nanousd,
  ledger_id: uuid,
  nodes: z.array(node),
  limits: shownLimits.exactOptional(),
})

export const admit = {
  item: z.strictObject({
    ...caller,
    request_id: uuid,
    model: z.string(),
    prompt_tokens_max: count,
    request_output_tokens_max: count,
    choices: z.int().min(1).optional(), // that share the output
    ttl_ms: z.int(),
    registered_nodes: z.literal(true).optional(), // a gateway of the release before does not say so
    // The deployment's, for an account that has none of its own.
    limits: z
      .strictObject({ requests_per_minute: count, tokens_per_minute: count, requests_in_flight_max: count })
      .partial()
      .optional(),
    service_tier: z.literal('flex').optional(),
    metadata: z.record(z.string(), z.string()).optional(), // that the request came with
    verify: z.string().optional(), // the language that its answer is to be verified in
    asked_model: z.string().optional(), // the name that was asked for, where that is not the model's
    alias: z.string().optional(), // the same, where the model is what stands behind it, and not in its place
    idempotency: wish.optional(),
    ...byId,
    resumes: z.literal(true).optional(), // a stream that its client lost can be gone on with
    is_begun: z.literal(true).optional(), // and it is not to run where there is none
    ...lockable,
  }),
  answer: z.discriminatedUnion('decision', [
    admitted,
    z.strictObject({
      decision: z.enum([...keyRefusals, 'model_not_allowed', 'no_price', 'no_flex_price', 'closed', 'locked']),
    }),
    z.strictObject({
      decision: z.enum([
        'requests_per_minute',
        'tokens_per_minute',
        'request_too_large',
        'requests_in_flight',
        'no_node',
        'not_verified', // where its answer was to be
      ]),
      limits: shownLimits,
    }),
    z.strictObject({ decision: z.enum(['spend_cap_reached', 'insufficient_quota']), limits: shownLimits, quota }),
    ...verdicts,
    z.strictObject({
      decision: z.literal('idempotency_resumable'),
      account_id: id,
      request_id: uuid,
      attempt: z.int().min(1),
      nodes: z.array(node),
    }),
    z.strictObject({ decision: z.literal('idempotency_unknown') }),
  ]),
}

/** An admission that got no answer in time: found, where it is wanted and was made; else it is undone, and can be made no more. */
export const resolve_admission = {
  item: z.strictObject({
    request_id: uuid,
    key_hash: keyHash,
    model: z.string(),
    is_wanted: z.boolean(),
    verify: z.string().optional(),
  }),
  answer: z.discriminatedUnion('decision', [admitted, z.strictObject({ decision: z.enum(['withdrawn', 'closed']) })]),
}

/** A reservation as it was admitted: all that a lost one is made again from. */
const reservation = {
  request_id: uuid,
  account_id: id,
  attempt: z.int().min(1),
  key_id: id,
  model: z.string(),
  price_version: z.int().min(1),
  reserved_nanousd: nanousd,
}

export const fence = {
  item: z.object(reservation).pick({ request_id: true, account_id: true, attempt: true }),
  answer: z.strictObject({ decision: z.enum(['fenced', 'closed']) }),
}

const voiding = {
  item: z.object(reservation),
  answer: z.strictObject({ decision: z.enum(['voided', 'posted', 'expired', 'rejected']) }),
}

export { voiding as void }

const journal = journalPosition.optional()

const usageRecord = z.object({
  ...reservation,
  ...ended,
  ...lockable,
  ledger_id: uuid.optional(), // that admitted it
  // Of its ticket: when it was signed, and for which node. A gateway of the release before says neither.
  issued_unix_ms: z.int().optional(),
  node_id: z.string().optional(),
  journal, // its node's; nor that
})

/** What a gateway of the release before passes on of a node; this one asks hear_node. */
const heartbeat = z.strictObject({
  node: z.strictObject({ node_id: z.string(), url: z.string(), model: z.string(), ...condition }),
})

export const settle = {
  item: z.union([usageRecord, heartbeat]),
  answer: z.discriminatedUnion('decision', [
    z.strictObject({
      decision: z.enum([
        'posted',
        'late',
        'duplicate',
        'stale',
        'conflict',
        'voided',
        'rejected',
        'locked',
        'elsewhere',
      ]),
      journal: journalCounted.exactOptional(),
    }),
    z.strictObject({ decision: z.literal('seen'), stop: z.array(uuid), ledger_id: uuid }),
  ]),
}

export const keep_unsettled = {
  item: z.strictObject({
    request_id: uuid,
    kind: z.enum(['refused', 'bad_ticket', 'other_node']),
    node_id: z.string(),
    sqlstate: z.string().nullable(),
    record: z.looseObject({ request_id: uuid }),
  }),
  answer: z.strictObject({ decision: z.enum(['kept', 'elsewhere']) }),
}

export const expire = {
  item: z.strictObject({ count_max: count }),
  answer: z.strictObject({ decision: z.literal('expired'), count }),
}

export const health = {
  item: z.strictObject({
    registered_nodes: z.literal(true).optional(),
    needs: z.array(z.string()).optional(), // the functions that the gateway calls
  }),
  answer: z.strictObject({
    decision: z.literal('healthy'),
    models: z.record(z.string(), count),
    // Where `needs` were asked about: those that this login may not call, and whether anything can be written.
    missing: z.array(z.string()).exactOptional(),
    writable: z.boolean().exactOptional(),
  }),
}
