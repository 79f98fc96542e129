#pragma once

#include "model.h"

namespace ziya {

extern const Architecture gpt_bigcode_architecture;

}  // namespace ziya
