// The one error type of native code. `code` is part of the addon's interface; addon.cpp is the only place that catches
// it.
#pragma once

#include <stdexcept>
#include <string>

namespace ziya {

class EngineError : public std::runtime_error {
 public:
  EngineError(std::string code, const std::string& message) : std::runtime_error(message), code(std::move(code)) {}
  const std::string code;
};

}  // namespace ziya
