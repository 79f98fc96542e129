#pragma once

#include "model.h"

namespace ziya {

extern const Architecture llama_architecture;

}  // namespace ziya
