// C++. `show` writes every type that MultiPL-E's prompts use but unions, whose comparison their own prompts leave undefined.

import { calledFunction, closed, type Expectation, endOfBrackets } from '../multipl-e-form.ts'
import type { Compiled } from './language.ts'

export const cpp: Compiled = {
  programs: (given, mark) => {
    const task = closed(given)
    const name = calledFunction(task.tests)
    const tests = expectations(task.tests)
    const actual = tests.map(({ call }, i) => `  shown::line(${i}, ${call});`)
    // What decides is of the type that the function returns.
    const wanted = tests.map(({ call, expected }, i) => `  shown::line(${i}, (decltype(${call}))(${expected}));`)
    const main = (lines: string[]) =>
      `\n${show(mark)}\nint main() {\n  auto candidate = ${name};\n${lines.join('\n')}\n}\n`
    return {
      candidate: { 'main.cpp': task.candidate + main(actual) },
      expected: { 'main.cpp': `${task.context}  throw 0;\n}\n${main(wanted)}` },
      lines: tests.map(({ line }) => line),
    }
  },
  compile: () => ['g++', '-std=c++17', '-w', '-O1', '-o', '/build/program', '/build/main.cpp'],
  run: ['/build/program'],
}

/** `assert(candidate(…) == (…));`, a line each. */
function expectations(tests: string): Expectation[] {
  return tests.split('\n').flatMap((raw) => {
    const line = raw.trim()
    if (!line.startsWith('assert(')) return []
    const end = endOfBrackets(line, line.indexOf('candidate('))
    const call = line.slice('assert('.length, end + 1)
    const expected = line
      .slice(end + 1, endOfBrackets(line, 'assert'.length))
      .trim()
      .replace(/^==/, '')
      .trim()
    return [{ line, call, expected }]
  })
}

/** Included again after the candidate, whose macros end here. */
const show = (mark: string) => `
#undef assert
#undef main
#undef int
#undef auto
#undef decltype
#include <any>
#include <cstdio>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>
namespace shown {
inline void show(bool value) { std::printf(value ? "true" : "false"); }
template <class T> std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>> show(T value) { std::printf("%lld", (long long)value); }
template <class T> std::enable_if_t<std::is_floating_point_v<T>> show(T value) { std::printf("%a", (double)(value == 0 ? 0 : value)); }
inline void show(const std::string& value) {
  std::printf("\\"");
  for (unsigned char c : value) std::printf("%02x", c);
  std::printf("\\"");
}
template <class T> void show(const std::vector<T>& values);
template <class T> void show(const std::set<T>& values);
template <class T> void show(const std::optional<T>& value);
template <class K, class V> void show(const std::map<K, V>& values);
template <class K, class V> void show(const std::unordered_map<K, V>& values);
template <class A, class B> void show(const std::pair<A, B>& value);
template <class... T> void show(const std::tuple<T...>& value);
template <class C> void all(const char* open, const C& values, const char* end) {
  std::printf("%s", open);
  for (const auto& value : values) { show(value); std::printf(","); }
  std::printf("%s", end);
}
inline void show(const std::vector<bool>& values) { std::printf("["); for (bool value : values) { show(value); std::printf(","); } std::printf("]"); }
template <class T> void show(const std::vector<T>& values) { all("[", values, "]"); }
template <class T> void show(const std::set<T>& values) { all("{", values, "}"); }
template <class K, class V> void show(const std::map<K, V>& values) { all("{", values, "}"); }
template <class K, class V> void show(const std::unordered_map<K, V>& values) { show(std::map<K, V>(values.begin(), values.end())); }
template <class T> void show(const std::optional<T>& value) { if (value) { std::printf("some "); show(*value); } else std::printf("none"); }
template <class A, class B> void show(const std::pair<A, B>& value) { std::printf("("); show(value.first); std::printf(","); show(value.second); std::printf(")"); }
template <class... T> void show(const std::tuple<T...>& value) {
  std::printf("(");
  std::apply([](const auto&... each) { ((show(each), std::printf(",")), ...); }, value);
  std::printf(")");
}
template <class T> void line(int i, const T& value) {
  std::printf("\\n${mark} %d ", i);
  show(value);
  std::printf("\\n");
  std::fflush(stdout);
}
}`
