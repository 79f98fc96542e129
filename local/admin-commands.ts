// The table of the operators' commands: what each is called, what it takes, and the one call of the admin API that it makes. Amounts
// are given in dollars and travel as integers of nano-USD; no digit is lost between the two.

import { readFileSync } from 'node:fs'
import { type ReceiptKey, verifyReceipt } from '../contract/public/receipt.ts'
import { readCatalog } from './catalog.ts'

export interface Option {
  type: 'string' | 'boolean'
  description: string
  /** What stands for its value in the help. */
  value?: string
  required?: boolean
}
export type Options = Record<string, Option>

export interface Call {
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE'
  path: string
  query?: Record<string, string | undefined>
  body?: object
  accept?: string
}

export interface Command {
  words: string[]
  description: string
  positionals?: string[]
  options?: Options
  /** Names the fields of a list that are shown, in order. */
  columns?: string[]
  call(values: Record<string, string & boolean>, positionals: string[]): Call
  /** What is made of the answer here, before it is printed. */
  finish?(answer: never, positionals: string[]): Promise<object>
  /** The answer is one, but says that something is not as it should be. */
  isBad?(answer: Record<string, unknown>): boolean
}

const page: Options = {
  limit: { type: 'string', value: 'N', description: 'how many at most, up to 100 (20)' },
  after: { type: 'string', value: 'ID', description: 'those that come after this one' },
}
const limits: Options = {
  'requests-per-minute': { type: 'string', value: 'N', description: 'or none' },
  'tokens-per-minute': { type: 'string', value: 'N', description: 'or none' },
  'requests-in-flight': { type: 'string', value: 'N', description: 'at most so many at a time, or none' },
  'monthly-cap': { type: 'string', value: 'USD', description: 'what may be spent in a month, or none' },
}
const keyFields: Options = {
  scopes: { type: 'string', value: 'A,B', description: 'of generate, usage, keys, webhooks, admin (generate,usage)' },
  models: { type: 'string', value: 'A,B', description: 'only these models, or none: every model' },
  tags: { type: 'string', value: 'A,B', description: 'names to add usage up by' },
  'allowed-ips': {
    type: 'string',
    value: 'A,B',
    description: 'only from these addresses or ranges, or none: from anywhere',
  },
  expires: {
    type: 'string',
    value: 'TIME',
    description: 'when it ends, as 2027-01-31 or 2027-01-31T12:00:00Z, or none',
  },
  ...limits,
}
const reference: Options = {
  reference: {
    type: 'string',
    description:
      'names it: repeated with the same one, it is done once. Without one the same again within minutes is refused',
  },
  again: { type: 'boolean', description: 'once more, though the same was booked a moment ago' },
}
const roles = 'read|support|finance|owner'
const note: Options = { note: { type: 'string', description: 'why, for a person to read' } }
const nodeUrl: Options = {
  'node-url': { type: 'string', value: 'URL', description: 'where the gateway reaches it, as its --public-url' },
}
const nodeModel: Options = { model: { type: 'string', description: 'the id of the model that it serves' } }
const publicKey: Option = {
  type: 'string',
  value: 'KEY',
  description: 'its public key, which it prints when it is ready',
}
const span: Options = {
  from: { type: 'string', value: 'DAY', description: 'the first day, as 2026-11-01' },
  to: { type: 'string', value: 'DAY', description: 'the day after the last' },
}

const accountColumns = [
  'id',
  'name',
  'balance_nanousd',
  'available_nanousd',
  'overdraft_nanousd',
  'charged_this_month_nanousd',
]
const nodeColumns = ['id', 'model', 'url', 'state', 'last_seen_at', 'running', 'waiting', 'drained_at', 'refusals']
const keyColumns = ['id', 'account_id', 'name', 'prefix', 'last_four', 'scopes', 'expires_at', 'revoked_at']

export const commands: Command[] = [
  {
    words: ['accounts', 'create'],
    description: 'opens an account',
    positionals: ['name'],
    options: {
      overdraft: { type: 'string', value: 'USD', description: 'how far below zero it may go (0)' },
      ...limits,
    },
    call: (values, [name]) => post('/admin/accounts', { name, ...overdraftOf(values), ...limitsOf(values) }),
  },
  {
    words: ['accounts', 'list'],
    description: 'lists accounts, the newest first',
    options: page,
    columns: accountColumns,
    call: (values) => get('/admin/accounts', pageOf(values)),
  },
  {
    words: ['accounts', 'show'],
    description: 'shows an account, its balance and its limits',
    positionals: ['account'],
    call: (_, [id]) => get(`/admin/accounts/${idOf(id!)}`),
  },
  {
    words: ['accounts', 'update'],
    description: 'changes what is given, and nothing else',
    positionals: ['account'],
    options: {
      name: { type: 'string', description: 'its name' },
      overdraft: { type: 'string', value: 'USD', description: 'how far below zero it may go' },
      ...limits,
    },
    call: (values, [id]) =>
      patch(`/admin/accounts/${idOf(id!)}`, {
        ...given('name', values.name),
        ...overdraftOf(values),
        ...limitsOf(values),
      }),
  },
  {
    words: ['accounts', 'suspend'],
    description: 'stops what runs of an account and lets nothing new in; it can still read what it owes',
    positionals: ['account'],
    call: (_, [id]) => post(`/admin/accounts/${idOf(id!)}/suspend`, {}),
  },
  {
    words: ['accounts', 'resume'],
    description: 'lets a suspended account in again',
    positionals: ['account'],
    call: (_, [id]) => post(`/admin/accounts/${idOf(id!)}/resume`, {}),
  },
  {
    words: ['buyers', 'show'],
    description: 'shows who buys with an account, and the tax in what it is charged',
    positionals: ['account'],
    call: (_, [id]) => get(`/admin/accounts/${idOf(id!)}/buyer`),
  },
  {
    words: ['buyers', 'update'],
    description: 'changes what is given, on the invoices from now on',
    positionals: ['account'],
    options: {
      name: { type: 'string', description: 'as it is printed, or none: the name of the account' },
      address: { type: 'string', description: 'or none' },
      country: { type: 'string', value: 'XX', description: 'two letters, or none' },
      'tax-id': { type: 'string', value: 'ID', description: 'or none' },
      'tax-name': { type: 'string', description: 'what the tax is called (VAT)' },
      'tax-rate': { type: 'string', value: 'PERCENT', description: 'the tax that is in what it is charged' },
      'reverse-charge': { type: 'string', value: 'yes|no', description: 'the buyer accounts for the tax' },
    },
    call: (values, [id]) =>
      patch(`/admin/accounts/${idOf(id!)}/buyer`, {
        ...given('name', values.name, orNone),
        ...given('address', values.address, orNone),
        ...given('country', values.country, orNone),
        ...given('tax_id', values['tax-id'], orNone),
        ...given('tax_name', values['tax-name']),
        ...given('tax_rate_ppm', values['tax-rate'], millionths),
        ...given('is_reverse_charge', values['reverse-charge'], yesOrNo),
      }),
  },
  {
    words: ['seller', 'show'],
    description: 'shows who sells, as it is printed on invoices',
    call: () => get('/admin/seller'),
  },
  {
    words: ['seller', 'update'],
    description: 'changes what is given, on the invoices from now on',
    options: {
      name: { type: 'string', description: 'as it is printed' },
      address: { type: 'string', description: 'as it is printed' },
      country: { type: 'string', value: 'XX', description: 'two letters' },
      'tax-id': { type: 'string', value: 'ID', description: 'or none' },
    },
    call: (values) =>
      patch('/admin/seller', {
        ...given('name', values.name),
        ...given('address', values.address),
        ...given('country', values.country),
        ...given('tax_id', values['tax-id'], orNone),
      }),
  },
  {
    words: ['billing', 'show'],
    description: 'shows how an account pays and when it is warned',
    positionals: ['account'],
    call: (_, [id]) => get(`/admin/accounts/${idOf(id!)}/billing`),
  },
  {
    words: ['billing', 'update'],
    description: 'changes what is given, and nothing else',
    positionals: ['account'],
    options: {
      mode: { type: 'string', value: 'prepaid|postpaid', description: 'by top-ups before, or by invoice after' },
      'alert-percents': {
        type: 'string',
        value: 'N,N',
        description: 'warn when so much is left of what there was, or none',
      },
      'alert-amounts': { type: 'string', value: 'USD,USD', description: 'warn when so much is left, or none' },
      'stripe-customer': { type: 'string', value: 'ID', description: 'who pays for it at Stripe, or none' },
    },
    call: (values, [id]) =>
      patch(`/admin/accounts/${idOf(id!)}/billing`, {
        ...given('billing_mode', values.mode),
        ...given('alert_percents', values['alert-percents'], (text) => (listOf(text) ?? []).map(wholeNumber)),
        ...given('alert_amounts_nanousd', values['alert-amounts'], (text) => (listOf(text) ?? []).map(nanousd)),
        ...given('stripe_customer_id', values['stripe-customer'], orNone),
      }),
  },
  {
    words: ['keys', 'create'],
    description: 'makes a key of an account and shows it, once',
    positionals: ['account', 'name'],
    options: keyFields,
    call: (values, [account_id, name]) => post('/admin/keys', { account_id, name, ...keyFieldsOf(values) }),
  },
  {
    words: ['keys', 'list'],
    description: 'lists the keys of an account, the newest first',
    positionals: ['account'],
    options: page,
    columns: keyColumns,
    call: (values, [account_id]) => get('/admin/keys', { account_id, ...pageOf(values) }),
  },
  {
    words: ['keys', 'show'],
    description: 'shows a key, its limits and when it was last used; not the key itself',
    positionals: ['key'],
    call: (_, [id]) => get(`/admin/keys/${idOf(id!)}`),
  },
  {
    words: ['keys', 'update'],
    description: 'changes what is given, and nothing else',
    positionals: ['key'],
    options: { name: { type: 'string', description: 'its name' }, ...keyFields },
    call: (values, [id]) =>
      patch(`/admin/keys/${idOf(id!)}`, { ...given('name', values.name), ...keyFieldsOf(values) }),
  },
  {
    words: ['keys', 'revoke'],
    description: 'revokes a key for good; what runs under it is stopped',
    positionals: ['key'],
    call: (_, [id]) => ({ method: 'DELETE', path: `/admin/keys/${idOf(id!)}` }),
  },
  {
    words: ['keys', 'rotate'],
    description: 'makes a key that replaces one, and shows it, once',
    positionals: ['key'],
    options: { overlap: { type: 'string', value: 'SECONDS', description: 'how long the old one still works (0)' } },
    call: (values, [id]) => post(`/admin/keys/${idOf(id!)}/rotate`, given('overlap_s', values.overlap, wholeNumber)),
  },
  {
    words: ['nodes', 'create'],
    description: 'registers a node: only then it is heard and asked',
    positionals: ['node'],
    options: {
      'node-url': { ...nodeUrl['node-url']!, required: true },
      model: { ...nodeModel.model!, required: true },
      'public-key': { ...publicKey, required: true },
    },
    call: (values, [id]) =>
      post('/admin/nodes', { id, url: values['node-url'], model: values.model, public_key: values['public-key'] }),
  },
  {
    words: ['nodes', 'list'],
    description: 'lists the nodes with what they last said, and how often they were refused',
    options: page,
    columns: nodeColumns,
    call: (values) => get('/admin/nodes', pageOf(values)),
  },
  {
    words: ['nodes', 'show'],
    description: 'shows a node',
    positionals: ['node'],
    call: (_, [id]) => get(nodePath(id!)),
  },
  {
    words: ['nodes', 'update'],
    description: 'changes its address or its model',
    positionals: ['node'],
    options: { ...nodeUrl, ...nodeModel },
    call: (values, [id]) =>
      patch(nodePath(id!), { ...given('url', values['node-url']), ...given('model', values.model) }),
  },
  {
    words: ['nodes', 'drain'],
    description: 'gives a node nothing new; what runs there goes on',
    positionals: ['node'],
    call: (_, [id]) => patch(nodePath(id!), { drain: true }),
  },
  {
    words: ['nodes', 'resume'],
    description: 'gives a node that was drained requests again',
    positionals: ['node'],
    call: (_, [id]) => patch(nodePath(id!), { drain: false }),
  },
  {
    words: ['nodes', 'rotate'],
    description: 'gives a node another key',
    positionals: ['node'],
    options: {
      'public-key': { ...publicKey, required: true },
      overlap: { type: 'string', value: 'SECONDS', description: 'how long the old one still works (0)' },
    },
    call: (values, [id]) =>
      post(`${nodePath(id!)}/rotate`, {
        public_key: values['public-key'],
        ...given('overlap_s', values.overlap, wholeNumber),
      }),
  },
  {
    words: ['nodes', 'remove'],
    description: 'removes a node: it gets nothing new, and what it reports is refused; drain it first',
    positionals: ['node'],
    call: (_, [id]) => ({ method: 'DELETE', path: nodePath(id!) }),
  },
  {
    words: ['top-ups', 'create'],
    description: 'credits an account with money that came in',
    positionals: ['account', 'usd'],
    options: reference,
    call: (values, [account_id, usd]) =>
      post('/admin/top-ups', { account_id, amount_nanousd: nanousd(usd!), ...referenceOf(values) }),
  },
  {
    words: ['refunds', 'create'],
    description: 'gives back what a request was charged, or a part of it',
    positionals: ['account', 'request'],
    options: {
      usd: { type: 'string', value: 'USD', description: 'how much (all that is left)' },
      ...reference,
      ...note,
    },
    call: (values, [account_id, request_id]) =>
      post('/admin/refunds', {
        account_id,
        request_id,
        ...given('amount_nanousd', values.usd, nanousd),
        ...referenceOf(values),
        ...given('note', values.note),
      }),
  },
  {
    words: ['adjustments', 'create'],
    description: 'corrects a balance, up or down',
    positionals: ['account'],
    options: {
      credit: { type: 'string', value: 'USD', description: 'up by so much' },
      debit: { type: 'string', value: 'USD', description: 'down by so much' },
      'may-overdraw': { type: 'boolean', description: 'also where it leaves the account in debt' },
      invoice: {
        type: 'string',
        value: 'ID',
        description: 'the closed invoice that a credit corrects, by a credit note',
      },
      ...reference,
      note: { ...note.note!, required: true },
    },
    call: (values, [account_id]) => {
      const { credit, debit } = values
      if ((credit === undefined) === (debit === undefined)) throw new Error('either --credit or --debit is needed')
      return post('/admin/adjustments', {
        account_id,
        direction: credit === undefined ? 'debit' : 'credit',
        amount_nanousd: nanousd((credit ?? debit)!),
        ...given('may_overdraw', values['may-overdraw'], Boolean),
        ...given('invoice_id', values.invoice),
        ...referenceOf(values),
        note: values.note,
      })
    },
  },
  {
    words: ['grants', 'create'],
    description: 'gives credit that ends',
    positionals: ['account', 'usd'],
    options: {
      expires: { type: 'string', value: 'TIME', description: 'when what is left of it ends', required: true },
      ...reference,
      ...note,
    },
    call: (values, [account_id, usd]) =>
      post('/admin/grants', {
        account_id,
        amount_nanousd: nanousd(usd!),
        expires_at: moment(values.expires!),
        ...referenceOf(values),
        ...given('note', values.note),
      }),
  },
  {
    words: ['catalog', 'list'],
    description: 'lists the models of the catalog in force',
    columns: ['id', 'aliases', 'fallbacks', 'template', 'context_tokens', 'created', 'owned_by'],
    call: () => get('/admin/catalog'),
    finish: async ({ models }: { models: object[] }) => ({ object: 'list', data: models }),
  },
  {
    words: ['catalog', 'show'],
    description: 'shows the catalog in force; with --json as catalog publish takes it',
    call: () => get('/admin/catalog'),
    finish: async ({ models }: { models: object[] }) => ({ models }),
  },
  {
    words: ['catalog', 'publish'],
    description: 'publishes a catalog in the place of the one in force, and the prices that it changes',
    positionals: ['file'],
    call: (_, [file]) => post('/admin/catalog', { models: readCatalog(file!) }),
    finish: async ({ models: _, ...published }: { models: object[] }) => published,
  },
  {
    words: ['prices', 'list'],
    description: 'lists the price book',
    options: {
      model: { type: 'string', description: 'of this model only' },
      account: { type: 'string', value: 'ID', description: 'agreed with this account' },
    },
    call: (values) => get('/admin/prices', { model: values.model, account_id: values.account }),
  },
  {
    words: ['prices', 'publish'],
    description: 'publishes a price: dollars for a million tokens; requests that were admitted keep theirs',
    positionals: ['model'],
    options: {
      input: { type: 'string', value: 'USD', description: 'for a million tokens of input', required: true },
      cached: { type: 'string', value: 'USD', description: 'for those of them that were cached (as input)' },
      output: { type: 'string', value: 'USD', description: 'for a million tokens of output', required: true },
      account: { type: 'string', value: 'ID', description: 'agreed with this account alone' },
      tier: { type: 'string', description: 'flex: for requests that can wait (default)' },
      from: { type: 'string', value: 'TIME', description: 'from when on (now)' },
      until: { type: 'string', value: 'TIME', description: 'of an agreed price: until when' },
    },
    call: (values, [model]) =>
      post('/admin/prices', {
        model,
        input_nanousd_per_token: perToken(values.input!),
        cached_input_nanousd_per_token: perToken(values.cached ?? values.input!),
        output_nanousd_per_token: perToken(values.output!),
        ...given('account_id', values.account),
        ...given('service_tier', values.tier),
        ...given('valid_from', values.from, moment),
        ...given('valid_until', values.until, moment),
      }),
  },
  {
    words: ['reconcile'],
    description: 'checks that every balance is the sum of its entries; the exit code is 1 where one is not',
    options: { anew: { type: 'boolean', description: 'read every entry again, also those that agreed before' } },
    call: (values) => get('/admin/reconcile', { anew: values.anew ? 'true' : undefined }),
    isBad: ({ status }) => status !== 'ok',
  },
  {
    words: ['anomalies', 'list'],
    description:
      'lists what should not have happened and was charged to nobody, the newest first; --json has all of it',
    options: { request: { type: 'string', value: 'ID', description: 'of this request only' }, ...page },
    columns: ['id', 'created_at', 'kind', 'request_id', 'account_id', 'node_id', 'sqlstate'],
    call: (values) => get('/admin/anomalies', { request_id: values.request, ...pageOf(values) }),
  },
  {
    words: ['receipts', 'show'],
    description: 'shows what a request used and cost, with the lines of the ledger',
    positionals: ['request'],
    call: (_, [id]) => get(`/admin/usage/${encodeURIComponent(id!)}`),
  },
  {
    words: ['receipts', 'verify'],
    description:
      'checks the signature of a receipt in a file (- is the input); the exit code is 1 where it is not valid',
    positionals: ['file'],
    call: () => get('/.well-known/receipt-keys.json'),
    finish: async ({ keys }: { keys: ReceiptKey[] }, [file]) => {
      const receipt = receiptIn(file!)
      return {
        object: 'verification',
        valid: await verifyReceipt(receipt, keys),
        request_id: receipt.request_id ?? null,
      }
    },
    isBad: ({ valid }) => valid !== true,
  },
  {
    words: ['usage'],
    description: 'adds up what an account used',
    positionals: ['account'],
    options: { ...span, by: { type: 'string', value: 'day,model,key,tag', description: 'what to add up by (day)' } },
    call: (values, [account_id]) =>
      get('/admin/usage', { account_id, from: values.from, to: values.to, by: values.by }),
  },
  {
    words: ['invoices', 'list'],
    description: 'lists the invoices of an account, the newest first',
    positionals: ['account'],
    options: page,
    columns: ['id', 'month', 'billing_mode', 'opening_nanousd', 'closing_nanousd', 'due_nanousd', 'closed_at'],
    call: (values, [account_id]) => get('/admin/invoices', { account_id, ...pageOf(values) }),
  },
  {
    words: ['invoices', 'show'],
    description: 'shows an invoice, as text, as CSV or as a page that prints',
    positionals: ['invoice'],
    options: { format: { type: 'string', value: 'json|csv|html', description: 'its form (json)' } },
    call: (values, [id]) => get(`/admin/invoices/${encodeURIComponent(id!)}`, { format: values.format }),
  },
  {
    words: ['credit-notes', 'list'],
    description: 'lists the credit notes of an account, the newest first',
    positionals: ['account'],
    options: page,
    columns: ['id', 'invoice_id', 'amount_nanousd', 'request_id', 'entry_id', 'created_at'],
    call: (values, [account_id]) => get('/admin/credit-notes', { account_id, ...pageOf(values) }),
  },
  {
    words: ['credit-notes', 'show'],
    description: 'shows a credit note, as text or as a page that prints',
    positionals: ['credit-note'],
    options: { format: { type: 'string', value: 'json|html', description: 'its form (json)' } },
    call: (values, [id]) => get(`/admin/credit-notes/${encodeURIComponent(id!)}`, { format: values.format }),
  },
  {
    words: ['operators', 'create'],
    description: 'names an operator; what they come with is made by operator-keys create',
    positionals: ['name'],
    options: { role: { type: 'string', value: roles, description: 'what they may do', required: true } },
    call: (values, [name]) => post('/admin/operators', { name, role: values.role }),
  },
  {
    words: ['operators', 'list'],
    description: 'lists the operators, the newest first',
    options: page,
    columns: ['id', 'name', 'role', 'created_at', 'ended_at'],
    call: (values) => get('/admin/operators', pageOf(values)),
  },
  {
    words: ['operators', 'update'],
    description: 'changes what is given, and nothing else',
    positionals: ['operator'],
    options: {
      name: { type: 'string', description: 'their name' },
      role: { type: 'string', value: roles, description: 'what they may do' },
    },
    call: (values, [id]) =>
      patch(`/admin/operators/${idOf(id!)}`, { ...given('name', values.name), ...given('role', values.role) }),
  },
  {
    words: ['operators', 'end'],
    description: 'ends an operator for good: all of their keys are refused',
    positionals: ['operator'],
    call: (_, [id]) => ({ method: 'DELETE', path: `/admin/operators/${idOf(id!)}` }),
  },
  {
    words: ['operators', 'whoami'],
    description: 'shows whose key this is',
    call: () => get('/admin/me'),
  },
  {
    words: ['operator-keys', 'create'],
    description: 'makes a key of an operator and shows it, once',
    positionals: ['operator'],
    options: { expires: { type: 'string', value: 'TIME', description: 'when it ends, as 2027-01-31' } },
    call: (values, [operator_id]) =>
      post('/admin/operator-keys', { operator_id, ...given('expires_at', values.expires, moment) }),
  },
  {
    words: ['operator-keys', 'list'],
    description: 'lists the keys of an operator, the newest first',
    positionals: ['operator'],
    options: page,
    columns: ['id', 'prefix', 'last_four', 'created_at', 'last_used_at', 'expires_at', 'revoked_at'],
    call: (values, [operator_id]) => get('/admin/operator-keys', { operator_id, ...pageOf(values) }),
  },
  {
    words: ['operator-keys', 'rotate'],
    description: 'makes a key that replaces one, and shows it, once; of its own, where none is named',
    options: {
      key: { type: 'string', value: 'ID', description: 'the key (the one that this is asked with)' },
      overlap: { type: 'string', value: 'SECONDS', description: 'how long the old one still works (0)' },
      expires: { type: 'string', value: 'TIME', description: 'when the new one ends' },
    },
    call: (values) =>
      post(values.key === undefined ? '/admin/me/rotate' : `/admin/operator-keys/${idOf(values.key)}/rotate`, {
        ...given('overlap_s', values.overlap, wholeNumber),
        ...given('expires_at', values.expires, moment),
      }),
  },
  {
    words: ['operator-keys', 'revoke'],
    description: 'revokes a key of an operator for good',
    positionals: ['key'],
    call: (_, [id]) => ({ method: 'DELETE', path: `/admin/operator-keys/${idOf(id!)}` }),
  },
  {
    words: ['audit', 'list'],
    description: 'lists what operators changed, the newest first; --json has all of it',
    options: {
      account: { type: 'string', value: 'ID', description: 'of this account only' },
      operator: { type: 'string', value: 'ID', description: 'by this operator only' },
      ...page,
    },
    columns: ['id', 'created_at', 'operator_name', 'address', 'action', 'subject', 'before', 'after'],
    call: (values) =>
      get('/admin/audit', { account_id: values.account, operator_id: values.operator, ...pageOf(values) }),
  },
]

function receiptIn(file: string): { request_id?: string } {
  try {
    const receipt = JSON.parse(readFileSync(file === '-' ? 0 : file, 'utf8'))
    if (receipt !== null && typeof receipt === 'object') return receipt
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw new Error(`there is no file ${file}`)
  }
  throw new Error(`${file} holds no receipt`)
}

function get(path: string, query: Call['query'] = {}): Call {
  return { method: 'GET', path, query }
}

function post(path: string, body: object): Call {
  return { method: 'POST', path, body }
}

function patch(path: string, body: object): Call {
  if (Object.keys(body).length === 0) throw new Error('nothing to change was given')
  return { method: 'PATCH', path, body }
}

function nodePath(id: string): string {
  return `/admin/nodes/${encodeURIComponent(id)}`
}

function pageOf({ limit, after }: Record<string, string>): Record<string, string | undefined> {
  return { limit, after }
}

/** The field, where the option was given. */
function given<V>(
  field: string,
  value: string | undefined,
  read: (text: string) => V | string = (text) => text,
): object {
  return value === undefined ? {} : { [field]: read(value) }
}

function overdraftOf({ overdraft }: Record<string, string>): object {
  return given('overdraft_nanousd', overdraft, nanousd)
}

function limitsOf(values: Record<string, string>): object {
  const count = (text: string) => orNone(text) && wholeNumber(text)
  return {
    ...given('requests_per_minute', values['requests-per-minute'], count),
    ...given('tokens_per_minute', values['tokens-per-minute'], count),
    ...given('requests_in_flight_max', values['requests-in-flight'], count),
    ...given('monthly_spend_cap_nanousd', values['monthly-cap'], (text) => orNone(text) && nanousd(text)),
  }
}

function keyFieldsOf(values: Record<string, string>): object {
  return {
    ...given('scopes', values.scopes, listOf),
    ...given('models', values.models, listOf),
    ...given('tags', values.tags, (text) => listOf(text) ?? []),
    ...given('allowed_ips', values['allowed-ips'], listOf),
    ...given('expires_at', values.expires, (text) => orNone(text) && moment(text)),
    ...limitsOf(values),
  }
}

function referenceOf(values: Record<string, string & boolean>): object {
  return { ...given('reference', values.reference), ...given('again', values.again, Boolean) }
}

/** A rate in percent, with up to four digits behind the point, as millionths. */
function millionths(percent: string): number {
  const [, whole, fraction = ''] = /^(\d{1,3})(?:\.(\d{1,4}))?%?$/.exec(percent) ?? []
  if (whole === undefined) throw new Error(`'${percent}' is not a rate in percent, such as 19 or 8.875`)
  return Number(whole) * 10_000 + Number(fraction.padEnd(4, '0'))
}

function yesOrNo(text: string): boolean {
  if (text !== 'yes' && text !== 'no') throw new Error(`'${text}' is neither yes nor no`)
  return text === 'yes'
}

function orNone(text: string): string | null {
  return text === 'none' ? null : text
}

function listOf(text: string): string[] | null {
  return text === 'none' ? null : text.split(',').map((part) => part.trim())
}

function idOf(text: string): string {
  if (!/^\d{1,18}$/.test(text)) throw new Error(`'${text}' is not an id`)
  return text
}

function wholeNumber(text: string): number {
  if (!/^\d{1,12}$/.test(text)) throw new Error(`'${text}' is not a whole number`)
  return Number(text)
}

/** Dollars as a person writes them, as an integer of nano-USD. */
export function nanousd(usd: string): string {
  const [, whole, fraction = ''] = /^\$?(\d{1,10})(?:\.(\d{1,9}))?$/.exec(usd) ?? []
  if (whole === undefined) throw new Error(`'${usd}' is not an amount in dollars, such as 25 or 0.005`)
  return String(BigInt(whole) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0')))
}

/** Dollars for a million tokens, as nano-USD for one. */
export function perToken(usd: string): string {
  const for_million = BigInt(nanousd(usd))
  if (for_million % 1_000_000n !== 0n)
    throw new Error(`$${usd} for a million tokens is no whole number of nano-USD for one`)
  return String(for_million / 1_000_000n)
}

function moment(text: string): string {
  const at = new Date(/^\d{4}-\d{2}-\d{2}$/.test(text) ? `${text}T00:00:00Z` : text)
  if (!/^\d{4}-\d{2}-\d{2}/.test(text) || Number.isNaN(at.getTime()))
    throw new Error(`'${text}' is not a time, such as 2027-01-31 or 2027-01-31T12:00:00Z`)
  return at.toISOString()
}
