// A DeepSpeed configuration, with flags beside it, up to what --print-config shows of it.
#include "aleph/train/config_fields.h"
#include "aleph/train/deepspeed_config.h"
#include "fuzz/parser.h"

namespace aleph::fuzz {

namespace {

void parse(std::string_view file) {
  train::TrainConfig config;
  train::read_deepspeed_config(file, "ds.json", config);
  for (const auto& [name, value] : {std::pair("lr", "1e-3"), std::pair("warmup", "3")})
    train::set_config_field(config, *train::find_config_field(name), {value}, std::string("--") + name);
  train::reconcile_flags(config);
  train::describe_config(config);
}

}  // namespace

const Parser kParser = {.parse = parse};

}  // namespace aleph::fuzz
