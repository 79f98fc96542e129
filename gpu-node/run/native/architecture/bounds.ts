// Bounds of every shape, as the engine's own door has them (native/kernels/shape.h); said here by the name of a config's field,
// before anything is allocated.

export const DIMENSION_MAX = 1 << 24
export const LAYERS_MAX = 10_000
export const HEADS_MAX = 65_536
export const HEAD_SIZE_MAX = 4096
export const ADAPTER_RANK_MAX = 512
