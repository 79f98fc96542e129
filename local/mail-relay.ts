// E-mail by SMTP. The worker speaks HTTP alone, so what it writes to accounts comes here, on this machine, and goes on to the mail server
// that the operator names.

import { randomBytes, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { createTransport, type Transporter } from 'nodemailer'
import * as z from 'zod'

export interface MailServer {
  /** `smtp://USER:PASSWORD@HOST:PORT`, or `smtps://…` where TLS comes first. */
  url: string
  from: string
}

export interface MailRelay {
  /** By which the gateway finds it. */
  vars: Record<string, string>
  close(): void
}

// Below WEBHOOK_MS_MAX, so that the gateway hears what went wrong.
const SMTP_MS_MAX = 10_000
const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/
const message = z.object({ id: z.string(), from: z.email(), to: z.email(), subject: z.string(), text: z.string() })
const settings = z.object({
  EMAIL_SMTP_URL: z.url({ protocol: /^smtps?$/, error: 'expected smtp://USER:PASSWORD@HOST:PORT, or smtps://' }),
  EMAIL_FROM: z.email(),
})

/** The mail server that the environment names, or null. One that is named in part is refused by what is missing. */
export function mailServerIn(environment: NodeJS.ProcessEnv): MailServer | null {
  if (!environment.EMAIL_SMTP_URL) return null
  const read = settings.safeParse(environment)
  if (!read.success) throw new Error(`${read.error.issues[0]!.path.join()}: ${read.error.issues[0]!.message}`)
  if (environment.EMAIL_PROVIDER) throw new Error('EMAIL_SMTP_URL and EMAIL_PROVIDER: one of them writes, not both')
  return { url: read.data.EMAIL_SMTP_URL, from: read.data.EMAIL_FROM }
}

/** On 127.0.0.1, for whoever has the key that its vars hold. `log` hears why a mail could not be sent. */
export async function startMailRelay({ url, from }: MailServer, log: (line: string) => void): Promise<MailRelay> {
  const key = randomBytes(32).toString('base64url')
  const transport = transportTo(new URL(url))
  const server = createServer(async (request, response) => {
    if (!isFrom(request, key)) return response.writeHead(401).end()
    const fault = await forward(request, transport)
    if (fault) log(`mail: ${fault}`)
    response.writeHead(fault ? 502 : 202).end()
  })
  await new Promise<void>((listens, fails) => server.once('error', fails).listen(0, '127.0.0.1', listens))
  server.unref()
  return {
    vars: {
      EMAIL_PROVIDER: 'smtp',
      EMAIL_API_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
      EMAIL_API_KEY: key,
      EMAIL_FROM: from,
    },
    close: () => {
      server.close()
      server.closeAllConnections()
      transport.close()
    },
  }
}

/** A password never leaves this machine in the clear: a server elsewhere has to offer TLS, with a certificate that holds. */
function transportTo({ protocol, hostname, port, username, password }: URL): Transporter {
  return createTransport({
    host: hostname.replace(/^\[|\]$/g, ''),
    secure: protocol === 'smtps:',
    ...(port && { port: Number(port) }),
    requireTLS: !LOOPBACK.test(hostname),
    ...(username && { auth: { user: decodeURIComponent(username), pass: decodeURIComponent(password) } }),
    connectionTimeout: SMTP_MS_MAX,
    greetingTimeout: SMTP_MS_MAX,
    socketTimeout: SMTP_MS_MAX,
    disableFileAccess: true,
    disableUrlAccess: true,
  })
}

function isFrom({ headers }: IncomingMessage, key: string): boolean {
  const [given, right] = [Buffer.from(headers.authorization ?? ''), Buffer.from(`Bearer ${key}`)]
  return given.length === right.length && timingSafeEqual(given, right)
}

/**
 * Sends it, or says what went wrong, without anything that stands in the mail. Each attempt has the same Message-ID, so that a mail that came
 * twice is known for one.
 */
async function forward(request: IncomingMessage, transport: Transporter): Promise<string | null> {
  try {
    const { id, from, to, subject, text } = message.parse(await json(request))
    await transport.sendMail({ messageId: `<${id}@${from.split('@').at(-1)}>`, from, to, subject, text })
    return null
  } catch (error) {
    const { code, responseCode } = error as { code?: string; responseCode?: number }
    return `${code ?? 'not sent'}${responseCode ? ` (${responseCode})` : ''}`
  }
}
