// Java. `Shown` writes by the interfaces of the standard library, so that no class of the candidate's decides what is equal. The prompts
// import javatuples: what they use of it is here.

import { closed, type Expectation, endOfBrackets } from '../multipl-e-form.ts'
import type { Compiled } from './language.ts'

export const java: Compiled = {
  programs: (given, mark) => {
    const task = closed(given)
    const tests = expectations(task.tests)
    const main = (of: (test: Expectation) => string) =>
      `\n    public static void main(String[] args) {\n${tests.map((test, i) => `        Shown.line(${i}, ${of(test)});`).join('\n')}\n    }\n}\n`
    const files = { 'Shown.java': shown(mark), ...tuples() }
    return {
      candidate: { ...files, 'Problem.java': task.candidate + main(({ call }) => call) },
      expected: {
        ...files,
        'Problem.java': `${importsOf(task.context ?? '')}class Problem {${main(({ expected }) => expected)}`,
      },
      lines: tests.map(({ line }) => line),
    }
  },
  compile: (files) => [
    'javac',
    '-J-Xmx512m',
    '-J-XX:+UseSerialGC',
    '-nowarn',
    '-encoding',
    'UTF-8',
    '-d',
    '/build',
    ...files,
  ],
  run: [
    'java',
    '-Xmx512m',
    '-Xss64m',
    '-XX:+UseSerialGC',
    '-XX:TieredStopAtLevel=1',
    '-Xshare:auto',
    '-cp',
    '/build',
    'Problem',
  ],
  compiles_with: { reserves_memory: true },
  runs_with: { reserves_memory: true },
}

const importsOf = (prompt: string) => (prompt.match(/^import .*;$/gm) ?? []).map((line) => `${line}\n`).join('')

/** `assert(f(…).equals((…)));` and `assert(f(…) == (…));`, a line each. */
function expectations(tests: string): Expectation[] {
  return tests.split('\n').flatMap((raw) => {
    const line = raw.trim()
    if (!line.startsWith('assert(')) return []
    const end = endOfBrackets(line, 'assert('.length)
    const call = line.slice('assert('.length, end + 1)
    const rest = line.slice(end + 1, endOfBrackets(line, 'assert'.length)).trim()
    const expected = rest.startsWith('.equals(') ? rest.slice('.equals('.length, -1) : rest.replace(/^==/, '').trim()
    return [{ line, call, expected }]
  })
}

const shown = (mark: string) => `
import java.util.*;
final class Shown {
    static void line(int i, Object value) {
        StringBuilder out = new StringBuilder("\\n${mark} " + i + " ");
        show(out, value);
        System.out.println(out);
        System.out.flush();
    }
    private static void show(StringBuilder out, Object value) {
        if (value == null || value instanceof Boolean || value instanceof Long || value instanceof Integer) out.append(value);
        else if (value instanceof Float || value instanceof Double) { double d = ((Number) value).doubleValue(); out.append(d == 0 ? 0.0 : d); }
        else if (value instanceof String || value instanceof Character) { out.append('"'); for (char c : value.toString().toCharArray()) out.append(Integer.toHexString(c)).append(' '); out.append('"'); }
        else if (value instanceof Optional<?> o) { out.append("some "); show(out, o.orElse(null)); }
        else if (value instanceof Map<?, ?> m) { TreeSet<String> all = new TreeSet<>(); m.forEach((k, v) -> all.add(shown(k) + ":" + shown(v))); out.append(all); }
        else if (value instanceof Set<?> s) { TreeSet<String> all = new TreeSet<>(); s.forEach(one -> all.add(shown(one))); out.append('{').append(all).append('}'); }
        else if (value instanceof Iterable<?> all) { out.append('['); for (Object one : all) { show(out, one); out.append(','); } out.append(']'); }
        else out.append("a ").append(value.getClass().getName());
    }
    private static String shown(Object value) {
        StringBuilder out = new StringBuilder();
        show(out, value);
        return out.toString();
    }
}
`

/** Unit to Quintet of org.javatuples: with, getValueN, setAtN, equal by their values. */
function tuples(): Record<string, string> {
  const names = ['Unit', 'Pair', 'Triplet', 'Quartet', 'Quintet']
  const base = `package org.javatuples;
import java.util.*;
public abstract class Tuple implements Iterable<Object> {
    private final List<Object> values;
    Tuple(Object... values) { this.values = Collections.unmodifiableList(Arrays.asList(values)); }
    public Iterator<Object> iterator() { return values.iterator(); }
    public Object getValue(int i) { return values.get(i); }
    public int getSize() { return values.size(); }
    public List<Object> toList() { return values; }
    public boolean contains(Object value) { return values.contains(value); }
    public boolean equals(Object other) { return other instanceof Tuple && ((Tuple) other).values.equals(values); }
    public int hashCode() { return values.hashCode(); }
    public String toString() { return values.toString(); }
}
`
  return { 'Tuple.java': base, ...Object.fromEntries(names.map((name, i) => [`${name}.java`, tuple(name, i + 1)])) }
}

function tuple(name: string, size: number): string {
  const types = ['A', 'B', 'C', 'D', 'E'].slice(0, size)
  const parameters = types.map((type, i) => `${type} v${i}`).join(', ')
  const values = types.map((_, i) => `v${i}`)
  const generic = `<${types.join(', ')}>`
  const methods = types.flatMap((type, i) => [
    `public ${type} getValue${i}() { return v${i}; }`,
    `public ${name}${generic} setAt${i}(${type} value) { return new ${name}<>(${values.map((own, at) => (at === i ? 'value' : own)).join(', ')}); }`,
  ])
  return `package org.javatuples;
public final class ${name}${generic} extends Tuple {
    ${types.map((type, i) => `private final ${type} v${i};`).join(' ')}
    public ${name}(${parameters}) { super(${values.join(', ')}); ${values.map((own) => `this.${own} = ${own};`).join(' ')} }
    public static ${generic} ${name}${generic} with(${parameters}) { return new ${name}<>(${values.join(', ')}); }
    ${methods.join('\n    ')}
}
`
}
