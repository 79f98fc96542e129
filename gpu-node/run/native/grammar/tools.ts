// An answer that may call tools: any text without the beginning of a call, and calls whose arguments follow their schemas, each on a
// line of its own.

import type { TextConstraint, ToolsConstraint } from '../../../../contract/internal/generation.ts'
import { CALL_BEGIN, CALL_SEPARATOR, CALL_TAIL, callHead } from '../../../../contract/internal/tool-call.ts'
import { type Automaton, automatonOf, type Budget, product } from './automaton.ts'
import { EVERY, utf8 } from './code-points.ts'
import { alt, bytesOf, type Expr, type Rules, repeat, rule, seq } from './expr.ts'
import { GrammarError } from './grammar-error.ts'
import { regexAutomaton } from './regex.ts'
import { schemaRules } from './schema/schema.ts'
import { schemaOf } from './schema/shape.ts'

export const TOOLS_ROOT = 'tools root'

const CALL = 'tools call'
const CALLS_MAX = 64 // of one answer

export function toolsRules({ tools, calls, is_parallel, text }: ToolsConstraint, budget: Budget): Rules {
  const rules = new Map<string, Expr>()
  const heads = tools.map(({ name, parameters }, i) => {
    for (const [own, expr] of argumentsRules(name, parameters, { prefix: `tool ${i} `, budget })) rules.set(own, expr)
    return seq([bytesOf(callHead(name)), rule(`tool ${i} root`), bytesOf(CALL_TAIL)])
  })
  rules.set(CALL, alt(heads))
  const more = repeat(seq([bytesOf(CALL_SEPARATOR), rule(CALL)]), 0, is_parallel ? CALLS_MAX - 1 : 0)
  const all = seq([rule(CALL), more])
  if (calls === 'required') return rules.set(TOOLS_ROOT, all)
  if (text) return rules.set(TOOLS_ROOT, alt([textExpr(text, rules, budget), all]))
  const free: Expr = { kind: 'automaton', automaton: withoutCall(budget) }
  return rules.set(TOOLS_ROOT, alt([free, all, seq([free, bytesOf(CALL_SEPARATOR), all])]))
}

/** A tool that names no parameters takes none; they are an object in any case. */
function argumentsRules(name: string, parameters: unknown, own: { prefix: string; budget: Budget }): Rules {
  try {
    const schema = schemaOf('parameters', parameters ?? { properties: {}, additionalProperties: false })
    return schemaRules(schema, own.budget, { prefix: own.prefix, is_object: true })
  } catch (error) {
    if (error instanceof GrammarError) error.message = `The tool '${name}': ${error.message}`
    throw error
  }
}

function textExpr(text: TextConstraint, rules: Map<string, Expr>, budget: Budget): Expr {
  if (text.kind === 'json' || text.kind === 'json_schema') {
    const schema = text.kind === 'json' ? { type: 'object' } : text.schema
    for (const [own, expr] of schemaRules(schema, budget, { prefix: 'text ' })) rules.set(own, expr)
    return rule('text root')
  }
  if (text.kind !== 'regex') throw new GrammarError("A 'response_format' of this type cannot be held beside tools.")
  return { kind: 'automaton', automaton: regexAutomaton(text.regex, { spell: utf8, matches: 'whole' }, budget) }
}

function withoutCall(budget: Budget): Automaton {
  const anything = repeat(utf8(EVERY), 0)
  const with_call = automatonOf(seq([anything, bytesOf(CALL_BEGIN), anything]), budget)
  return product(automatonOf(anything, budget), with_call, 'first only', budget)
}
