// The architectures that this build has, by name. A new one is a file beside llama.cpp and a line in registry.cpp.
#pragma once

#include "model.h"

namespace ziya {

// Throws EngineError unsupported_architecture.
const Architecture& architecture_of(const std::string& name);

// One more, before the first engine is made: how a test adds its own. Returns true, so that a constant may be made of it.
bool register_architecture(const Architecture& architecture);

}  // namespace ziya
