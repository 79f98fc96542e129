// The figures: pass@k without bias, and how sure a pass rate is.

/** 1 - C(n-c, k) / C(n, k), the estimator of Chen et al. 2021: of `n` samples `c` passed. */
export function passAtK(n: number, c: number, k: number): number {
  if (n - c < k) return 1
  let none = 1
  for (let i = n - c + 1; i <= n; i++) none *= 1 - k / i
  return 1 - none
}

/** Wilson's 95 % interval of a rate, which holds for few problems and for rates near 0 and 1. */
export function interval(passed: number, total: number): [low: number, high: number] {
  if (total === 0) return [0, 1]
  const z = 1.959964
  const rate = passed / total
  const centre = rate + z ** 2 / (2 * total)
  const spread = z * Math.sqrt((rate * (1 - rate)) / total + z ** 2 / (4 * total ** 2))
  const scale = 1 + z ** 2 / total
  return [Math.max(0, (centre - spread) / scale), Math.min(1, (centre + spread) / scale)]
}

export const percent = (rate: number) => `${(100 * rate).toFixed(1)} %`
