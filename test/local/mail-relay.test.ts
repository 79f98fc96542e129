// E-mail through a mail server: from what happened to an account to the mail, and what becomes of one that the server does not take.

import type { AddressInfo } from 'node:net'
import { SMTPServer, type SMTPServerOptions } from 'smtp-server'
import { afterEach, expect, test } from 'vitest'
import { mailServerIn, startMailRelay } from '../../local/mail-relay.ts'
import { startTestGateway } from '../support/gateway.ts'
import { eventually } from '../support/patience.ts'

interface Mail {
  user: string | undefined
  from: string
  to: string[]
  text: string
}

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

/** A mail server on 127.0.0.1 that takes mail from one user, by a certificate that it made itself; `refuses` answers instead. */
async function startMailServer(options: SMTPServerOptions = {}): Promise<{ port: number; mails: Mail[] }> {
  const mails: Mail[] = []
  const server = new SMTPServer({
    onAuth: ({ username, password }, _, done) =>
      username === 'ziya@example.com' && password === 'p@ss:/word'
        ? done(null, { user: username })
        : done(new Error('who is it?')),
    onData: (stream, { envelope, user }, done) => {
      const parts: Buffer[] = []
      stream.on('data', (part) => parts.push(part))
      stream.on('end', () => {
        const { mailFrom, rcptTo } = envelope
        const text = Buffer.concat(parts).toString()
        mails.push({
          user: user as string | undefined,
          from: mailFrom ? mailFrom.address : '',
          to: rcptTo.map(({ address }) => address),
          text,
        })
        done()
      })
    },
    allowInsecureAuth: true,
    disabledCommands: ['STARTTLS'],
    ...options,
  })
  server.on('error', () => {}) // of a client that left at its certificate
  await new Promise<void>((listens) => server.listen(0, '127.0.0.1', listens))
  closing.push(() => new Promise<void>((closed) => server.close(closed)))
  return { port: (server.server.address() as AddressInfo).port, mails }
}

const urlOf = (port: number, host = '127.0.0.1') =>
  `smtp://${encodeURIComponent('ziya@example.com')}:p%40ss%3A%2Fword@${host}:${port}`
const MAIL = {
  id: 'evt_1',
  from: 'billing@example.com',
  to: 'owner@customer.com',
  subject: 'Hm',
  text: 'Olá,\n.\n..\nend',
}

async function relayTo(url: string) {
  const log: string[] = []
  const { vars, close } = await startMailRelay({ url, from: MAIL.from }, (line) => log.push(line))
  closing.push(close)
  const send = async (body: string, key = vars.EMAIL_API_KEY) =>
    (await fetch(vars.EMAIL_API_URL!, { method: 'POST', headers: { authorization: `Bearer ${key}` }, body })).status
  return { log, send }
}

test('an account is written to about what matters, through the mail server that the operator named', async () => {
  const { port, mails } = await startMailServer()
  const mail_server = mailServerIn({ EMAIL_SMTP_URL: urlOf(port), EMAIL_FROM: MAIL.from })
  const gateway = await startTestGateway({}, undefined, undefined, { mail_server })
  closing.push(() => gateway.stop())
  const { account_id } = await gateway.newCaller('0')
  const set = await gateway.admin(`/admin/accounts/${account_id}/notifications`, { email: MAIL.to }, 'PATCH')
  expect(set.status).toBe(200)
  await gateway.admin(`/admin/accounts/${account_id}/suspend`)
  await eventually(async () => mails[0] ?? null)
  expect(mails).toMatchObject([{ user: 'ziya@example.com', from: MAIL.from, to: [MAIL.to] }])
  expect(mails[0]!.text).toMatch(/^Subject: Your account is suspended\r$/m)
  expect(mails[0]!.text).toMatch(/^Message-ID: <evt_[0-9a-z-]+@example\.com>\r$/m)
  expect(mails[0]!.text).toContain(`id: ${account_id}`)
})

test('every text comes as it was, once more under the same Message-ID', async () => {
  const { port, mails } = await startMailServer()
  const { send } = await relayTo(urlOf(port))
  expect([await send(JSON.stringify(MAIL)), await send(JSON.stringify(MAIL))]).toEqual([202, 202])
  expect(mails[0]!.text).toContain('Ol=C3=A1,\r\n..\r\n...\r\nend'.replace('..\r\n...', '.\r\n..'))
  expect(mails.map(({ text }) => /^Message-ID: (.*)\r$/m.exec(text)![1])).toEqual(Array(2).fill('<evt_1@example.com>'))
})

test('what the server does not take is an error that says nothing of the mail, and comes again later', async () => {
  const refusing = await startMailServer({
    onRcptTo: (_, __, done) => done(Object.assign(new Error('no such box'), { responseCode: 550 })),
  })
  const { log, send } = await relayTo(urlOf(refusing.port))
  expect(await send(JSON.stringify(MAIL))).toBe(502)
  const gone = await relayTo(urlOf(1))
  expect(await gone.send(JSON.stringify(MAIL))).toBe(502)
  const stranger = await relayTo(urlOf(refusing.port).replace('p%40ss', 'wrong'))
  expect(await stranger.send(JSON.stringify(MAIL))).toBe(502)
  expect([log, gone.log, stranger.log]).toEqual([['mail: EENVELOPE (550)'], ['mail: ESOCKET'], ['mail: EAUTH (535)']])
  expect(refusing.mails).toEqual([])
})

test('nobody writes through it without its key, and nothing but a mail', async () => {
  const { port, mails } = await startMailServer()
  const { send } = await relayTo(urlOf(port))
  expect(await send(JSON.stringify(MAIL), 'guessed')).toBe(401)
  for (const body of ['', '{', '{}', JSON.stringify({ ...MAIL, to: { path: '/etc/passwd' } })])
    expect(await send(body)).toBe(502)
  expect(await send(JSON.stringify({ ...MAIL, to: 'a@customer.com\r\nRCPT TO:<b@customer.com>' }))).toBe(502)
  expect(await send(JSON.stringify({ ...MAIL, to: 'a@customer.com, b@customer.com' }))).toBe(502)
  expect(mails).toEqual([])
  expect(await send(JSON.stringify({ ...MAIL, subject: 'Hm\r\nBcc: everybody@customer.com' }))).toBe(202)
  expect(mails).toMatchObject([{ to: [MAIL.to] }])
  expect(mails[0]!.text).not.toMatch(/^Bcc:/m)
})

test('a certificate that nobody vouches for gets neither mail nor password', async () => {
  const asked: string[] = []
  const { port, mails } = await startMailServer({
    disabledCommands: [],
    onAuth: ({ username }, _, done) => {
      asked.push(username ?? '')
      done(null, { user: username })
    },
  })
  const { log, send } = await relayTo(urlOf(port))
  expect(await send(JSON.stringify(MAIL))).toBe(502)
  expect(log).toEqual(['mail: ESOCKET'])
  expect([asked, mails]).toEqual([[], []])
})

test('a server elsewhere that offers no encryption gets neither, too', async () => {
  const { port, mails } = await startMailServer()
  const { log, send } = await relayTo(urlOf(port, '127.1')) // which is no name that is known to be of this machine
  expect(await send(JSON.stringify(MAIL))).toBe(502)
  expect(log).toEqual(['mail: ETLS (500)'])
  expect(mails).toEqual([])
})

test('what an operator named in part, or twice, is refused by name', () => {
  expect(mailServerIn({})).toBeNull()
  for (const [environment, said] of [
    [{ EMAIL_SMTP_URL: 'smtp://mail.example.com' }, /^EMAIL_FROM: /],
    [{ EMAIL_SMTP_URL: 'https://mail.example.com', EMAIL_FROM: MAIL.from }, /^EMAIL_SMTP_URL: expected smtp/],
    [{ EMAIL_SMTP_URL: 'smtp://h', EMAIL_FROM: MAIL.from, EMAIL_PROVIDER: 'resend' }, /one of them/],
  ] as const)
    expect(() => mailServerIn(environment)).toThrow(said)
})
