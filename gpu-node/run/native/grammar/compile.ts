// From what a request asks its answer to be to a program that the native grammar runs. Pure, and bounded in what it does; it may
// still take a while, so it runs in a worker.

import type { Constraint } from '../../../../contract/internal/generation.ts'
import { Budget } from './automaton.ts'
import { utf8 } from './code-points.ts'
import type { Rules } from './expr.ts'
import { GBNF_ROOT, gbnfRules } from './gbnf.ts'
import { programOf } from './program.ts'
import { regexAutomaton } from './regex.ts'
import { SCHEMA_ROOT, schemaRules } from './schema/schema.ts'
import { TOOLS_ROOT, toolsRules } from './tools.ts'

/** Throws a GrammarError that says what cannot be held, and an ExcessError where this budget is too small. */
export function compileConstraint(constraint: Constraint, budget = new Budget()): Int32Array<ArrayBuffer> {
  const { rules, root } = rulesOf(constraint, budget)
  return programOf(rules, root, budget)
}

function rulesOf(constraint: Constraint, budget: Budget): { rules: Rules; root: string } {
  switch (constraint.kind) {
    case 'json':
      return { rules: schemaRules({ type: 'object' }, budget), root: SCHEMA_ROOT }
    case 'json_schema':
      return { rules: schemaRules(constraint.schema, budget), root: SCHEMA_ROOT }
    case 'regex': {
      const automaton = regexAutomaton(constraint.regex, { spell: utf8, matches: 'whole' }, budget)
      return { rules: new Map([['root', { kind: 'automaton', automaton }]]), root: 'root' }
    }
    case 'grammar':
      return { rules: gbnfRules(constraint.grammar), root: GBNF_ROOT }
    case 'tools':
      return { rules: toolsRules(constraint, budget), root: TOOLS_ROOT }
  }
}
