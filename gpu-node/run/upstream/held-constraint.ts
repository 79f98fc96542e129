// What an answer must be, in the fields by which an engine is asked to hold it to that. Whether it can, the engine says when it is asked.

import type { Constraint, TextConstraint, ToolsConstraint } from '../../../contract/internal/generation.ts'
import { CALL_BEGIN, CALL_TAIL, callHead } from '../../../contract/internal/tool-call.ts'
import { Refusal } from '../../refusal.ts'
import type { Dialect } from './dialect.ts'

export type ConstraintFields = Readonly<Record<string, unknown>>

export function constraintFields(constraint: Constraint, dialect: Dialect): ConstraintFields {
  if (constraint.kind === 'tools') return toolFields(constraint, dialect)
  if (constraint.kind === 'json') return { response_format: { type: 'json_object' } }
  if (constraint.kind === 'json_schema') return { response_format: schemaFormat(constraint.schema) }
  return structuredFields(constraint, dialect)
}

function schemaFormat(schema: unknown) {
  return { type: 'json_schema', json_schema: { name: 'answer', strict: true, schema } }
}

function structuredFields(
  constraint: Extract<TextConstraint, { kind: 'regex' | 'grammar' }>,
  { structured }: Dialect,
): ConstraintFields {
  if (structured === null) throw unheld('invalid_constraint', 'response_format')
  const { kind } = constraint
  const text = constraint.kind === 'regex' ? constraint.regex : constraint.grammar
  if (structured === 'structured_outputs') return { structured_outputs: { [kind]: text } }
  return { [kind === 'regex' ? 'regex' : 'ebnf']: text }
}

/** Calls are held where they begin, and what is around them is free, as the structural tags of xgrammar have it. */
function toolFields({ tools, calls, text }: ToolsConstraint, { structured }: Dialect): ConstraintFields {
  if (structured === null || calls === 'required' || text) throw unheld('invalid_tools', 'tools')
  const structures = tools.map(({ name, parameters }) => ({
    begin: callHead(name),
    schema: parameters ?? { type: 'object', properties: {}, additionalProperties: false },
    end: CALL_TAIL,
  }))
  return { response_format: { type: 'structural_tag', structures, triggers: [CALL_BEGIN] } }
}

function unheld(code: 'invalid_constraint' | 'invalid_tools', param: string): Refusal {
  return new Refusal(code, 'What serves this model cannot hold an answer to this.', { param })
}
