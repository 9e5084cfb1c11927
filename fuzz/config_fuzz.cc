// config.json to the specification of a model.
#include "aleph/base/json.h"
#include "aleph/models/registry.h"
#include "fuzz/parser.h"

namespace aleph::fuzz {

namespace {

void parse(std::string_view file) {
  const models::TransformerSpec spec = models::read_spec(parse_json(file, "config.json"), "config.json");
  parsed();
  models::embedding_shapes(spec);
  models::block_shapes(spec, static_cast<int64_t>(spec.blocks.size()) - 1);
  models::head_shapes(spec);
}

}  // namespace

// The blocks of as many layers as a model may have.
const Parser kParser = {.parse = parse, .small_allocation = 1 << 18};

}  // namespace aleph::fuzz
