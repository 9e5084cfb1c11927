// The entry of libFuzzer.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "fuzz/parser.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string fault = aleph::fuzz::run_parser({reinterpret_cast<const char*>(data), size}).fault;
  if (!fault.empty()) {
    std::fprintf(stderr, "%s\n", fault.c_str());
    std::abort();
  }
  return 0;
}
