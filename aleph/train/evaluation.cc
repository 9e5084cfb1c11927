#include "aleph/train/evaluation.h"

#include "aleph/base/clock.h"
#include "aleph/base/interrupt.h"

namespace aleph::train {

EvalRecord evaluate(zero::Engine& engine, const EvalLoader& loader, int64_t seq_len, double tokens_per_byte) {
  const Stopwatch watch;
  zero::LossSum sum;
  for (int64_t i = 0; i < loader.batches() && !interrupted(); ++i) {
    const std::span<const int32_t> ids = loader.batch(i);
    const zero::LossSum part = engine.evaluate(
        {.ids = ids, .targets = {}, .rows = static_cast<int64_t>(ids.size()) / seq_len, .seq = seq_len});
    sum.loss_sum += part.loss_sum;
    sum.tokens += part.tokens;
  }
  EvalRecord record;
  record.loss = sum.mean();
  record.nats_per_byte = sum.mean() * tokens_per_byte;
  record.tokens = sum.tokens;
  record.seconds = watch.seconds();
  return record;
}

}  // namespace aleph::train
