// The item and the answer of each SQL function, under the function's own name. The gateway takes only their types: nothing is parsed
// while somebody waits. Tests parse every item and every answer.

export * from './accounts.ts'
export * from './admission.ts'
export * from './documents.ts'
export * from './entries.ts'
export * from './idempotency.ts'
export * from './invoices.ts'
export * from './keys.ts'
export * from './nodes.ts'
export * from './operators.ts'
export * from './prices.ts'
export * from './questions.ts'
export * from './receipt-keys.ts'
export * from './reconcile.ts'
export * from './stripe.ts'
export * from './usage.ts'
export * from './webhooks.ts'
