// How an account pays, as it is shown to itself and to the operator.

import type { Billing } from '../../contract/public/billing.ts'

export function publicBilling(billing: Omit<Billing, 'object'>): Billing {
  return { object: 'billing', ...billing }
}
