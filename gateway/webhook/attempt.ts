// One attempt to deliver to an endpoint, by the way that reaches public addresses only.

import { type Env, settingsOf } from '../env.ts'
import { exchange, type Outcome } from './exchange.ts'
import { type Message, signedHeaders } from './signature.ts'

export async function attempt(env: Env, url: string, message: Message, secrets: string[]): Promise<Outcome> {
  const headers = {
    'content-type': 'application/json',
    'user-agent': 'ZiyaCode-Webhooks/1.0',
    ...(await signedHeaders(message, secrets, new Date())),
  }
  const { ms_max } = settingsOf(env).webhooks
  return exchange(env.RECEIVERS ?? globalThis, url, { headers, body: message.body, ms_max })
}
