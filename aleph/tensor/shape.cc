#include "aleph/tensor/shape.h"

#include <fmt/ranges.h>

namespace aleph {

std::string Shape::to_string() const { return fmt::format("[{}]", fmt::join(sizes(), ", ")); }

}  // namespace aleph
