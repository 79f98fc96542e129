// What a node signed, read; and what it is answered, signed in turn: a node forgets what it is told is kept.

import * as z from 'zod'
import { ANSWER_SIGNATURE_HEADER } from '../../../contract/internal/sync.ts'
import type { Env } from '../../env.ts'
import { ApiError } from '../../error.ts'
import type { SignedReport } from '../../guard.ts'
import { ticketIssuerOf } from '../../ticket-issuer.ts'

export function parsedReport<T>({ text }: SignedReport, schema: z.ZodType<T>): T {
  const result = schema.safeParse(parseJson(text))
  if (!result.success) throw new ApiError('invalid_value', { message: z.prettifyError(result.error).slice(0, 500) })
  return result.data
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    throw new ApiError('invalid_json')
  }
}

export async function signedAnswer(env: Env, { signature }: SignedReport, body: string): Promise<Response> {
  const issuer = await ticketIssuerOf(env)
  return new Response(body, {
    headers: {
      'content-type': 'application/json',
      [ANSWER_SIGNATURE_HEADER]: await issuer.signAnswer(signature, body),
    },
  })
}
