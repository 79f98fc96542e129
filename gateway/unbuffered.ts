/** Answers go through proxies as they come: what is compressed on the way comes late, and so does what nginx collects. */
export const UNBUFFERED = { 'cache-control': 'no-cache, no-transform', 'x-accel-buffering': 'no' }
