// Schemas of the kinds that the JSON Schema Test Suite (draft 2020-12) and OpenAI's guide publish, written anew: a keyword, alone or beside
// others, and values that follow it or do not.

export interface Published {
  schema: unknown
  valid: unknown[]
  invalid: unknown[]
}

const of = (schema: unknown, valid: unknown[], invalid: unknown[]): Published => ({ schema, valid, invalid })

const ANY = [1, 1.5, 'foo', true, null, [], {}, { foo: 1 }, [1, 'a']]

/** Each can be held. */
export const held: Published[] = [
  of(true, ANY, []),
  of({}, ANY, []),
  ...types(),
  ...values(),
  ...numbers(),
  ...strings(),
  ...formats(),
  ...alternatives(),
  ...arrays(),
  ...objects(),
  ...together(),
  ...references(),
]

function types(): Published[] {
  return [
    of({ type: 'integer' }, [1, 0, -7], [1.1, 'foo', '1', {}, [], true, null]),
    of({ type: 'number' }, [1, 1.1, -0.5], ['foo', '1', {}, [], true, null]),
    of({ type: 'string' }, ['foo', '', '1'], [1, 1.1, {}, [], true, null]),
    of({ type: 'object' }, [{}, { a: 1 }], [1, 1.1, 'foo', [], true, null]),
    of({ type: 'array' }, [[], [1, 'a']], [1, 1.1, 'foo', {}, true, null]),
    of({ type: 'boolean' }, [true, false], [1, 0, 'foo', '', {}, [], null]),
    of({ type: 'null' }, [null], [1, 0, 'foo', '', {}, [], true, false]),
    of({ type: ['integer', 'string'] }, [1, 'foo'], [1.1, {}, [], true, null]),
    of({ type: ['string'] }, ['foo'], [123]),
    of({ type: ['array', 'object', 'null'] }, [[1], { foo: 123 }, null], [123, 'foo', true]),
  ]
}

function values(): Published[] {
  return [
    of({ const: 2 }, [2], [5, 'a', null]),
    of({ const: { foo: 'bar', baz: 'bax' } }, [{ foo: 'bar', baz: 'bax' }], [{ foo: 'bar' }, [1, 2]]),
    of({ const: [{ foo: 'bar' }] }, [[{ foo: 'bar' }]], [[2], [1, 2, 3]]),
    of({ const: null }, [null], [0, false, '']),
    of({ const: false }, [false], [0, [0], [false]]),
    of({ const: 'hello\u0000there' }, ['hello\u0000there'], ['hellothere']),
    of({ enum: [1, 2, 3] }, [1, 3], [4, '1']),
    of({ enum: [6, 'foo', [], true, { foo: 12 }] }, [[], { foo: 12 }], [null, { foo: false }, { foo: 12, boo: 42 }]),
    of({ enum: ['foo\nbar', 'foo\rbar'] }, ['foo\nbar', 'foo\rbar'], ['abc', 'foo\\nbar']),
    of({ enum: [[false]] }, [[[false]].flat()], [false, [0], [true]]),
    of({ enum: [0, 1] }, [0, 1], [false, true, [0]]),
  ]
}

function numbers(): Published[] {
  return [
    of({ type: 'integer', format: 'uint8' }, [0, 255], [-1, 256]),
    of({ type: 'number', format: 'double' }, [1.5, -2], ['a']),
    of({ type: 'number', maximum: 3 }, [2.6, 3, -1], [3.5, 4]),
    of({ maximum: 300 }, [299.97, 300, 'x', [], null], [300.5, 301]),
    of({ minimum: 1.1 }, [2.6, 1.1, 'x', {}], [0.6, 1, -2]),
    of({ minimum: -2 }, [-1, 0, -2, 'x'], [-2.0001, -3]),
    of({ exclusiveMaximum: 3 }, [2.2, 'x'], [3, 3.5]),
    of({ exclusiveMinimum: 1.1 }, [1.2, 'x'], [1.1, 0.6]),
    of({ type: 'integer', multipleOf: 2 }, [10, 0, -4], [7, 3]),
    of({ type: 'integer', minimum: 1, maximum: 10, multipleOf: 5 }, [5, 10], [0, 3, 15]),
    of({ type: 'integer', minimum: -130, maximum: 130 }, [-130, 0, 130], [-131, 131]),
    of({ allOf: [{ maximum: 30 }, { minimum: 20 }] }, [25, 'x'], [35, 15]),
  ]
}

function strings(): Published[] {
  return [
    of({ minLength: 2 }, ['foo', 'fo', 1, []], ['f', '', '\u{1F4A9}']),
    of({ maxLength: 2 }, ['f', 'fo', '\u{1F4A9}\u{1F4A9}', 100], ['foo', '\u{1F4A9}\u{1F4A9}\u{1F4A9}']),
    of({ pattern: '^a*$' }, ['aaa', '', true, 123, [], {}, null], ['abc', 'b']),
    of({ pattern: 'a+' }, ['xxaayy', 'a'], ['xxx', '']),
    of({ type: 'string', pattern: '^\\W$' }, ['-'], ['a', '']),
    of({ type: 'string', pattern: '^\\S{3}$' }, ['abc'], ['a c', 'ab']),
    of({ type: 'string', pattern: '^\\p{Letter}+$' }, ['é', 'ab'], ['1', '']),
    of({ type: 'string', pattern: '^[a-z]{3}[0-9]{2}$' }, ['abc12'], ['ab12', 'abc123', 'ABC12']),
    of({ type: 'string', pattern: '^@[a-zA-Z0-9_]+$' }, ['@ann_1'], ['ann', '@', '@a b']),
    of(
      { type: 'string', pattern: '^(\\([0-9]{3}\\))?[0-9]{3}-[0-9]{4}$' },
      ['555-1212', '(888)555-1212'],
      ['(888)5551212'],
    ),
  ]
}

function formats(): Published[] {
  return [
    of(
      { type: 'string', format: 'date' },
      ['1963-06-19', '2020-02-29'],
      ['2021-02-29', '06/19/1963', '1998-1-20', '1963-06-1৪'],
    ),
    of(
      { type: 'string', format: 'time' },
      ['08:30:06Z', '23:59:59+23:59'],
      ['24:00:00Z', '08:30:06', '8:3:6Z', '12:00:00z0'],
    ),
    of(
      { type: 'string', format: 'date-time' },
      ['1963-06-19T08:30:06Z'],
      ['1990-02-31T15:59:59Z', '1963-06-19 08:30:06'],
    ),
    of(
      { type: 'string', format: 'duration' },
      ['P4DT12H30M5S', 'PT1M', 'P2W'],
      ['PT1D', 'P', 'P1YT', 'P2D1Y', 'P1Y2W'],
    ),
    of(
      { type: 'string', format: 'email' },
      ['joe.bloggs@example.com'],
      ['2962', '.test@example.com', 'te..st@example.com'],
    ),
    of({ type: 'string', format: 'hostname' }, ['www.example.com', 'a'], ['-bad-host-', 'a_b', '.a', 'a..b']),
    of(
      { type: 'string', format: 'ipv4' },
      ['192.168.0.1'],
      ['127.0.0.0.1', '256.256.256.256', '127.0', '0x7f000001', '087.10.0.1'],
    ),
    of(
      { type: 'string', format: 'ipv6' },
      ['::1', '::abef'],
      ['12345::', '1:1:1:1:1:1:1:1:1', '::laptop', '1:2::4:5::8'],
    ),
    of(
      { type: 'string', format: 'uri' },
      ['https://example.com:80/a%20b?q=1#f', 'mailto:a@b.c', 'urn:isbn:1'],
      ['example.com', '//a.b', 'http://a b', 'http://a/%zz'],
    ),
    of(
      { type: 'string', format: 'uuid' },
      ['2eb8aa08-aa98-11ea-b4aa-73b441d16380'],
      ['2eb8aa08-aa98-11ea-b4aa-73b441d1638', '2eb8aa08aa9811eab4aa73b441d16380'],
    ),
  ]
}

/** Alternatives that no value follows two of. */
function alternatives(): Published[] {
  const shape = (kind: string, own: string) => ({
    ...{ type: 'object', properties: { kind: { const: kind }, [own]: { type: 'number' } } },
    ...{ required: ['kind', own], additionalProperties: false },
  })
  const $defs = { circle: shape('circle', 'radius'), square: shape('square', 'side') }
  const oneOf = [{ $ref: '#/$defs/circle' }, { $ref: '#/$defs/square' }]
  return [
    of({ oneOf: [{ type: 'integer' }, { type: 'string', maxLength: 2 }] }, [1, 'ab'], [1.5, 'abc', null]),
    of({ oneOf: [{ const: 'a', title: 'A' }, { enum: ['b', 1] }] }, ['a', 'b', 1], ['c', 2]),
    of(
      { $defs, oneOf, discriminator: { propertyName: 'kind' } },
      [
        { kind: 'circle', radius: 1 },
        { kind: 'square', side: 2.5 },
      ],
      [{ kind: 'circle', side: 1 }, { kind: 'oval', radius: 1 }, {}],
    ),
  ]
}

function arrays(): Published[] {
  return [
    of({ items: { type: 'integer' } }, [[1, 2], [], { foo: 'bar' }, 'x'], [[1, 'x'], [null]]),
    of({ items: false }, [[], 'x'], [[1], ['foo']]),
    of({ type: 'array', minItems: 1 }, [[1], [1, 2]], [[]]),
    of({ type: 'array', maxItems: 2 }, [[], [1, 2]], [[1, 2, 3]]),
    of(
      { type: 'array', prefixItems: [{ type: 'integer' }, { type: 'string' }] },
      [[1, 'foo'], [1], [], [1, 'foo', true]],
      [['foo', 1], ['a']],
    ),
    of({ type: 'array', prefixItems: [{}], items: { type: 'integer' } }, [['x', 1, 2], ['x'], []], [['x', 'y']]),
    of({ type: 'array', prefixItems: [{}, {}], items: false }, [[1, 2], []], [[1, 2, 3]]),
    of({ type: 'array', items: { type: 'array', items: { type: 'number' } } }, [[[1], [2, 3]], []], [[1], [['x']]]),
  ]
}

function objects(): Published[] {
  const address = {
    type: 'object',
    properties: { street: { type: 'string' } },
    required: ['street'],
    additionalProperties: false,
  }
  return [
    of(
      { properties: { foo: { type: 'integer' }, bar: { type: 'string' } } },
      [{ foo: 1, bar: 'baz' }, {}, [], 'x'],
      [
        { foo: 1, bar: {} },
        { foo: [], bar: {} },
      ],
    ),
    of({ properties: { foo: true, bar: false } }, [{}, { foo: 1 }], [{ bar: 2 }, { foo: 1, bar: 2 }]),
    of(
      { properties: { 'foo\nbar': { type: 'number' }, 'foo"bar': { type: 'number' } } },
      [{ 'foo\nbar': 1, 'foo"bar': 1 }],
      [{ 'foo\nbar': '1' }],
    ),
    of(
      { properties: { __proto__: { type: 'number' }, toString: { type: 'string' } } },
      [{ toString: 'x' }],
      [{ toString: 37 }],
    ),
    of({ type: 'object', required: ['foo'] }, [{ foo: 1 }], [{}, { bar: 1 }]),
    of({ required: ['foo'], properties: { foo: {}, bar: {} } }, [{ foo: 1 }, 'x', []], [{ bar: 1 }, {}]),
    of({ type: 'object', additionalProperties: false }, [{}], [{ a: 1 }]),
    of({ type: 'object', additionalProperties: { type: 'boolean' } }, [{ foo: true }, {}], [{ foo: 1 }]),
    of(
      { type: 'object', properties: { foo: {} }, additionalProperties: { type: 'boolean' } },
      [{ foo: 1, quux: true }],
      [{ foo: 1, quux: 12 }],
    ),
    of(
      { allOf: [{ properties: { foo: {} } }], type: 'object', additionalProperties: { type: 'boolean' } },
      [{ bar: true }],
      [{ foo: 1, bar: true }],
    ),
    of(
      {
        type: 'object',
        properties: { name: { type: 'string' }, home: address, work: address },
        required: ['name', 'home'],
      },
      [{ name: 'a', home: { street: 's' } }],
      [{ name: 'a' }, { name: 'a', home: {} }, { name: 'a', home: { street: 's', x: 1 } }],
    ),
  ]
}

function together(): Published[] {
  const bar = { properties: { bar: { type: 'integer' } }, required: ['bar'] }
  const foo = { properties: { foo: { type: 'string' } }, required: ['foo'] }
  return [
    of({ allOf: [bar, foo] }, [{ bar: 2, foo: 'baz' }], [{ foo: 'baz' }, { bar: 2 }, { foo: 'baz', bar: 'quux' }]),
    of(
      { ...bar, allOf: [foo, { properties: { baz: { type: 'null' } }, required: ['baz'] }] },
      [{ bar: 2, foo: 'q', baz: null }],
      [
        { foo: 'q', baz: null },
        { bar: 2, foo: 'q' },
      ],
    ),
    of({ allOf: [true, true] }, ['foo'], []),
    of({ allOf: [{}, { type: 'number' }] }, [1], ['foo']),
    of({ anyOf: [{ type: 'integer' }, { minimum: 2 }] }, [1, 2.5, 3], [1.5]),
    of({ type: 'string', anyOf: [{ maxLength: 2 }, { minLength: 4 }] }, ['ab', 'foobar'], [3, 'foo']),
    of({ anyOf: [true, false] }, ['foo'], []),
    of({ anyOf: [bar, foo] }, [{ bar: 2 }, { foo: 'baz' }], [{ foo: 2, bar: 'quux' }, { foo: 2 }]),
    of({ anyOf: [{ type: 'number' }, {}] }, ['foo', 123], []),
    of({ anyOf: [{ anyOf: [{ type: 'null' }] }] }, [null], [123]),
    of(
      {
        anyOf: [
          { type: 'object', properties: { kind: { const: 'a' }, n: { type: 'integer' } }, required: ['kind', 'n'] },
          { type: 'object', properties: { kind: { const: 'b' } }, required: ['kind'] },
        ],
      },
      [{ kind: 'a', n: 1 }, { kind: 'b' }],
      [{ kind: 'a' }, { kind: 'c' }],
    ),
  ]
}

function references(): Published[] {
  const node = {
    type: 'object',
    properties: { value: { type: 'number' }, next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] } },
    required: ['value', 'next'],
    additionalProperties: false,
  }
  return [
    of(
      { properties: { foo: { $ref: '#' } }, additionalProperties: false },
      [{ foo: {} }, { foo: { foo: {} } }],
      [{ bar: false }, { foo: { bar: false } }],
    ),
    of({ properties: { foo: { type: 'integer' }, bar: { $ref: '#/properties/foo' } } }, [{ bar: 3 }], [{ bar: true }]),
    of({ prefixItems: [{ type: 'integer' }, { $ref: '#/prefixItems/0' }] }, [[1, 2]], [[1, 'foo']]),
    of(
      {
        $defs: {
          'tilde~field': { type: 'integer' },
          'slash/field': { type: 'integer' },
          'percent%field': { type: 'integer' },
        },
        properties: {
          tilde: { $ref: '#/$defs/tilde~0field' },
          slash: { $ref: '#/$defs/slash~1field' },
          percent: { $ref: '#/$defs/percent%25field' },
        },
      },
      [{ slash: 123 }, { tilde: 123 }, { percent: 123 }],
      [{ slash: 'aoeu' }, { tilde: 'aoeu' }, { percent: 'aoeu' }],
    ),
    of(
      {
        $defs: { a: { type: 'integer' }, b: { $ref: '#/$defs/a' }, c: { $ref: '#/$defs/b' } },
        allOf: [{ $ref: '#/$defs/c' }],
      },
      [5],
      ['a'],
    ),
    of(
      { $defs: { reffed: { type: 'array' } }, properties: { foo: { $ref: '#/$defs/reffed', maxItems: 2 } } },
      [{ foo: [] }],
      [{ foo: [1, 2, 3] }, { foo: 'string' }],
    ),
    of(
      { $defs: { node }, $ref: '#/$defs/node' },
      [{ value: 1, next: { value: 2, next: null } }],
      [{ value: 1 }, { value: 1, next: { value: 'x', next: null } }],
    ),
    of(
      {
        definitions: { positive: { type: 'integer', minimum: 0 } },
        properties: { a: { $ref: '#/definitions/positive' } },
      },
      [{ a: 3 }],
      [{ a: -1 }],
    ),
  ]
}

/** Schemas with a keyword, or a value of one, that is refused by its name. */
export const refused: [keyword: string, schema: unknown][] = [
  ...Object.entries({
    contains: { minimum: 5 },
    minContains: 1,
    maxContains: 1,
    dependentRequired: { bar: ['foo'] },
    dependentSchemas: { bar: {} },
    dependencies: { bar: ['foo'] },
    if: { exclusiveMaximum: 0 },
    maxProperties: 2,
    minProperties: 1,
    not: { type: 'integer' },
    oneOf: [{ type: 'integer' }, { minimum: 2 }],
    patternProperties: { 'f.*o': { type: 'integer' } },
    propertyNames: { maxLength: 3 },
    unevaluatedItems: false,
    unevaluatedProperties: false,
    uniqueItems: true,
    contentMediaType: 'application/json',
    $dynamicRef: '#node',
    $anchor: 'foo',
    $id: 'http://localhost/root.json',
    additionalItems: false,
  }).flatMap(([keyword, value]): [string, unknown][] => [
    [keyword, { [keyword]: value }],
    [keyword, { type: 'object', properties: { a: { anyOf: [{ type: 'null' }, { [keyword]: value }] } } }],
    [keyword, { $defs: { a: { [keyword]: value } }, items: { $ref: '#/$defs/a' } }],
  ]),
  [
    'oneOf',
    {
      oneOf: [
        { type: 'object', properties: { kind: { const: 'a' } }, required: ['kind'] },
        { type: 'object', properties: { kind: { const: 'b' } } },
      ],
    },
  ],
  ...[
    'idn-email',
    'idn-hostname',
    'iri',
    'iri-reference',
    'json-pointer',
    'regex',
    'relative-json-pointer',
    'uri-reference',
    'uri-template',
  ].map((format): [string, unknown] => ['format', { type: 'string', format }]),
  ...['^(?!a)', '(?<=a)b', '(a)\\1', '\\bfoo', '^(?i)a'].map((pattern): [string, unknown] => [
    'pattern',
    { type: 'string', pattern },
  ]),
  ['multipleOf', { multipleOf: 0.0001 }],
  ['multipleOf', { type: 'number', multipleOf: 1.5 }],
  ['$ref', { $ref: 'http://json-schema.org/draft-07/schema#' }],
  ['$ref', { $ref: '#foo' }],
  ['$ref', { $ref: 'node' }],
]
