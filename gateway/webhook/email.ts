// Events by e-mail, through the HTTP API of a provider that the operator names; a mail server is behind local/mail-relay.ts. The subject is
// ours alone: nothing that a customer named stands in a header.

import type { Event, EventType } from '../../contract/public/webhook-event.ts'
import { type EmailProvider, type Env, settingsOf } from '../env.ts'
import { exchange, type Outcome } from './exchange.ts'

interface Mail {
  from: string
  to: string
  subject: string
  text: string
  /** The same for each attempt. */
  id: string
}

interface Provider {
  /** Null where the operator has to name one. */
  url: string | null
  headers(key: string, mail: Mail): Record<string, string>
  body(mail: Mail): object
}

const bearer = (key: string) => ({ authorization: `Bearer ${key}` })

const providers = {
  resend: {
    url: 'https://api.resend.com/emails',
    headers: (key, { id }) => ({ ...bearer(key), 'idempotency-key': id }),
    body: ({ from, to, subject, text }) => ({ from, to: [to], subject, text }),
  },
  postmark: {
    url: 'https://api.postmarkapp.com/email',
    headers: (key) => ({ 'x-postmark-server-token': key, accept: 'application/json' }),
    body: ({ from, to, subject, text }) => ({ From: from, To: to, Subject: subject, TextBody: text }),
  },
  sendgrid: {
    url: 'https://api.sendgrid.com/v3/mail/send',
    headers: bearer,
    body: ({ from, to, subject, text }) => ({
      personalizations: [{ to: [{ email: to }] }],
      from: { email: from },
      subject,
      content: [{ type: 'text/plain', value: text }],
    }),
  },
  smtp: { url: null, headers: bearer, body: (mail) => mail },
} satisfies Record<EmailProvider, Provider>

/** Whether this deployment can write to anybody. */
export function isEmailSetUp(env: Env): boolean {
  return Boolean(env.EMAIL_PROVIDER && env.EMAIL_API_KEY && env.EMAIL_FROM && addressOf(env))
}

/** Where the provider is asked; null where nobody says. */
function addressOf({ EMAIL_API_URL, EMAIL_PROVIDER = 'resend' }: Env): string | null {
  return EMAIL_API_URL ?? providers[EMAIL_PROVIDER].url
}

/** What an account is written to about, where nothing else is said. */
export const WRITTEN_ABOUT: EventType[] = [
  'account.suspended',
  'balance.low',
  'invoice.closed',
  'key.expiring',
  'key.leaked',
  'price.announced',
  'spend_cap.reached',
  'webhook_endpoint.disabled',
]

const SUBJECTS: Record<EventType, string> = {
  'account.resumed': 'Your account is active again',
  'account.suspended': 'Your account is suspended',
  'balance.low': 'Your balance is low',
  'balance.topped_up': 'Your balance was topped up',
  'batch.cancelled': 'A batch was cancelled',
  'batch.completed': 'A batch is completed',
  'batch.expired': 'A batch expired',
  'batch.failed': 'A batch could not be begun',
  'invoice.closed': 'Your invoice is ready',
  'key.created': 'An API key was created',
  'key.expiring': 'An API key expires soon',
  'key.leaked': 'An API key was reported as leaked, and is revoked',
  'key.revoked': 'An API key was revoked',
  'price.announced': 'A price changes',
  'response.cancelled': 'A response was cancelled',
  'response.completed': 'A response is complete',
  'response.failed': 'A response failed',
  'response.incomplete': 'A response is incomplete',
  'spend_cap.reached': 'A monthly spending cap is reached',
  'webhook_endpoint.disabled': 'A webhook endpoint was disabled',
}

export async function sendEmail(env: Env, to: string, body: string): Promise<Outcome> {
  const event = JSON.parse(body) as Event
  const mail = { from: env.EMAIL_FROM ?? '', to, subject: SUBJECTS[event.type], text: textOf(event), id: event.id }
  const provider: Provider = providers[env.EMAIL_PROVIDER ?? 'resend']
  const outcome = await exchange(globalThis, addressOf(env) ?? '', {
    headers: { 'content-type': 'application/json', ...provider.headers(env.EMAIL_API_KEY ?? '', mail) },
    body: JSON.stringify(provider.body(mail)),
    ms_max: settingsOf(env).webhooks.ms_max,
  })
  // What a provider answers is of ours with it: no answer of it says that the address is gone, and the account is shown none.
  return { ...outcome, status: outcome.status === 410 ? 400 : outcome.status, answer: null }
}

function textOf({ id, type, created_at, data }: Event): string {
  const lines = Object.entries(data).map(
    ([name, value]) => `${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}`,
  )
  return [`${SUBJECTS[type]}.`, '', ...lines, '', `${id} (${type}), ${new Date(1000 * created_at).toISOString()}`].join(
    '\n',
  )
}
