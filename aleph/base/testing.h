// What tests of every folder use.
#pragma once

#include <string>

#include "aleph/base/error.h"

namespace aleph {

/// What the Error says that `run` throws; "no error" where it throws none.
template <typename Run>
std::string fault_of(const Run& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace aleph
