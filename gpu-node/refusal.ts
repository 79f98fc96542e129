// What a node says no to before the first byte. Whoever finds the reason throws it; serve/ spells it as an HTTP answer.

import type { NodeErrorCode } from '../contract/internal/generation.ts'

export class Refusal extends Error {
  readonly code: NodeErrorCode
  readonly param: string | null // of the request
  readonly retry_after_s: number | null

  constructor(
    code: NodeErrorCode,
    message: string,
    { param = null, retry_after_s = null }: { param?: string | null; retry_after_s?: number | null } = {},
  ) {
    super(message)
    this.name = 'Refusal'
    this.code = code
    this.param = param
    this.retry_after_s = retry_after_s
  }
}
