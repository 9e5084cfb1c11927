#include "aleph/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <vector>

#include "aleph/base/clock.h"
#include "aleph/base/interrupt.h"
#include "aleph/base/text_util.h"
#include "aleph/checkpoint/training_checkpoint.h"
#include "aleph/io/directory_lock.h"
#include "aleph/train/evaluation.h"
#include "aleph/train/finite.h"
#include "aleph/train/metrics_log.h"
#include "aleph/train/model_setup.h"
#include "aleph/train/output_dir.h"
#include "aleph/train/placement.h"
#include "aleph/train/profile.h"
#include "aleph/train/run_data.h"
#include "aleph/train/run_report.h"
#include "aleph/train/runtime.h"
#include "aleph/train/step_reporter.h"
#include "aleph/train/training_state.h"

namespace aleph::train {

namespace {

/// min(1, limit / (norm + 1e-6)) as torch.nn.utils.clip_grad_norm_; 1 without a limit.
double clip_factor(double norm, double limit) {
  return limit > 0 ? std::min(1.0, limit / (norm + 1e-6)) : 1.0;
}

class Trainer {
 public:
  Trainer(const TrainConfig& config, Console& console, const Disk& disk);
  Outcome run();

 private:
  bool already_finished();
  void start();
  void load_or_resume();
  std::optional<std::filesystem::path> resume();
  void warn_of_later_checkpoints() const;
  void note_start_from_the_beginning();

  StepRecord step();
  zero::LossSum backward();
  void update(StepRecord& record);
  optim::ScaledStep finish_scaled_step(const zero::GradientNorm& norm);
  void require_finite_step(const StepRecord& record, const zero::GradientNorm& norm);
  std::string first_non_finite_parameter();
  zero::UpdateOptions update_options(double gradient_scale) const;

  bool every(int64_t steps) const { return steps > 0 && state_.step % steps == 0; }
  bool done() const { return state_.step >= data_.total_steps(); }
  void evaluate_now();
  void save_now();
  template <typename Write>
  void log(const Write& write);
  void warn_of_little_room() const;
  Outcome stop();
  void finish();
  void report();
  void report_profile();

  const TrainConfig& config_;
  Console& console_;
  Disk disk_;
  OutputDir output_;
  BatchShape batch_;
  Runtime runtime_;
  ModelSetup setup_;
  RunData data_;
  Fingerprint fingerprint_;
  std::unique_ptr<optim::UpdateRule> rule_;
  optim::Schedule schedule_;
  StepReporter reporter_;
  TrainingState state_;

  std::unique_ptr<nn::Model> model_;
  std::unique_ptr<zero::Engine> engine_;
  std::unique_ptr<MetricsLog> log_;
  std::vector<int32_t> rows_;  // of one micro-batch
  std::optional<EvalRecord> last_eval_;
  RunTotals totals_;
  Stopwatch run_watch_;
};

Trainer::Trainer(const TrainConfig& config, Console& console, const Disk& disk)
    : config_(config),
      console_(console),
      disk_(disk),
      output_(config.save.output_dir, disk.calls),
      batch_(resolve_batch(config, 1)),
      runtime_(config),
      setup_(read_model_setup(config)),
      data_(config, setup_.spec, batch_, runtime_.communicator().size(),
            runtime_.device().host_memory().ledger()),
      fingerprint_(make_fingerprint(config, setup_.spec, batch_, data_.train())),
      rule_(make_update_rule(config)),
      schedule_(make_schedule(config, data_.total_steps())),
      reporter_(console, {.total_steps = data_.total_steps(), .every = config.log.steps}) {
  state_.scaler = make_loss_scaler(config);
  rows_.resize(static_cast<size_t>(batch_.micro_batch * config.data.seq_len));
}

Outcome Trainer::run() {
  if (already_finished()) return Outcome::kFinished;
  start();
  while (!done()) {
    const StepRecord record = step();
    log([&](MetricsLog& file) { file.step(record); });
    reporter_.step(record);
    if (every(config_.data.eval_steps) && !done()) evaluate_now();
    if (interrupted()) return stop();
    if (every(config_.save.save_steps)) save_now();
  }
  evaluate_now();
  if (interrupted()) return stop();
  finish();
  return Outcome::kFinished;
}

/// A log that cannot be written is no reason to lose the run.
template <typename Write>
void Trainer::log(const Write& write) {
  if (log_ == nullptr) return;
  try {
    write(*log_);
  } catch (const Error& error) {
    console_.warning(fmt::format("{}; the run goes on without its log", error.what()));
    log_.reset();
  }
}

Outcome Trainer::stop() {
  save_now();
  console_.note("interrupted: saved step {} in {}; --resume goes on", state_.step, output_.path().string());
  return Outcome::kInterrupted;
}

bool Trainer::already_finished() {
  const std::optional<FinishedRun> run = output_.finished();
  if (!config_.save.resume || !run || run->steps < data_.total_steps() || !output_.holds_weights())
    return false;
  if (const std::filesystem::path& named = config_.save.resume_from; !named.empty())
    throw Error("--resume " + named.string(),
                fmt::format("a finished run of {} steps in {}", run->steps, output_.path().string()),
                "another --output-dir to go on from it");
  console_.note("{} is finished: {} steps", output_.path().string(), run->steps);
  return true;
}

void Trainer::start() {
  const nn::Model::Options shape = model_options(setup_.spec, config_.data.seq_len);
  const PlacementRequest request{config_,      shape, *rule_, batch_, runtime_.communicator().size(),
                                 data_.bytes()};
  const zero::Plan plan = plan_placement(request, console_);
  runtime_.open_swap(config_, plan.placement, disk_);
  zero::EngineOptions options = engine_options(request);
  options.placement = plan.placement;
  model_ = std::make_unique<nn::Model>(runtime_.device(), shape);
  engine_ = std::make_unique<zero::Engine>(runtime_.engine_context(), *model_, *rule_, options);
  load_or_resume();
  log_ = std::make_unique<MetricsLog>(config_.log.file, state_.step, disk_.calls);
  warn_of_little_room();
  run_watch_.restart();
}

/// A disk may be cleared while the run is under way: what it has to hold is said, and not refused.
void Trainer::warn_of_little_room() const {
  const int64_t free = io::free_bytes(output_.path()), elements = models::parameter_count(setup_.spec);
  const int64_t model = elements * dtype_bytes(config_.dtype);
  const auto states = static_cast<int64_t>(rule_->state_names().size());
  const int64_t checkpoint = elements * static_cast<int64_t>(sizeof(float)) * (1 + states);
  if (free >= model + (config_.save.save_steps > 0 ? checkpoint : 0)) return;
  console_.warning(fmt::format("{} has {} free; the model will take {}, a checkpoint {}",
                               output_.path().string(), format_bytes(free), format_bytes(model),
                               format_bytes(checkpoint)));
}

/// The checkpoint the run goes on from, loaded; nothing where it starts from the beginning.
std::optional<std::filesystem::path> Trainer::resume() {
  if (!config_.save.resume) return std::nullopt;
  const std::filesystem::path& named = config_.save.resume_from;
  if (named.empty())
    return load_newest_checkpoint(output_.path(), *engine_, state_, fingerprint_, console_, disk_.calls);
  load_checkpoint(named, *engine_, state_, fingerprint_, console_, disk_.calls);
  return named;
}

void Trainer::load_or_resume() {
  const std::optional<std::filesystem::path> checkpoint = resume();
  if (checkpoint) {
    if (state_.step > data_.total_steps())
      throw Error(checkpoint->string(), fmt::format("step {}", state_.step),
                  fmt::format("one of the {} steps of this run (--steps)", data_.total_steps()));
    console_.note("resumed from {} at step {}", checkpoint->string(), state_.step);
    if (!config_.save.resume_from.empty()) warn_of_later_checkpoints();
  } else {
    if (config_.save.resume) note_start_from_the_beginning();
    load_weights(setup_, *engine_, runtime_.device(), config_.seed, console_);
  }
  stop_if_interrupted();  // from here on there is a new run in OUTPUT
  if (config_.save.overwrite && !checkpoint) output_.remove_checkpoints();
  output_.reopen();
}

/// Those of another course of the run stay; from then on the newest is not of this one.
void Trainer::warn_of_later_checkpoints() const {
  const std::vector<checkpoint::CheckpointInfo> all =
      checkpoint::find_checkpoints(output_.path(), disk_.calls);
  if (all.empty() || all.back().step <= state_.step) return;
  console_.warning(
      fmt::format("{} has checkpoints of another course up to step {}: to go on with this one later, "
                  "name its checkpoint (--resume DIR) or move those away",
                  output_.path().string(), all.back().step));
}

/// Resuming has found no checkpoint. A model is not replaced unasked.
void Trainer::note_start_from_the_beginning() {
  const std::string path = output_.path().string();
  if (output_.holds_model())
    throw Error("--resume " + path, "a model and no checkpoint to go on from",
                "a checkpoint (--save-steps makes them), or --overwrite to start again");
  console_.note("no complete checkpoint in {}: starting from the beginning", path);
}

StepRecord Trainer::step() {
  const Stopwatch watch;
  const IoStats io_before = engine_->io_stats();
  const SwapStats swap_before = runtime_.swap_stats();
  const zero::LossSum loss = backward();
  StepRecord record{.step = state_.step + 1, .loss = loss.mean(), .tokens = data_.loader().tokens_per_step()};
  update(record);
  state_.step = record.step;
  state_.loss = record.loss;
  record.step_seconds = watch.seconds();
  record.peaks = read_peaks(runtime_.device(), runtime_.nvme());
  record.io = io_since(engine_->io_stats(), io_before);
  record.swap = runtime_.swap_stats() - swap_before;
  totals_.add_step(record, engine_->times());
  return record;
}

zero::LossSum Trainer::backward() {
  comm::Communicator& ranks = runtime_.communicator();
  zero::LossSum sum;
  for (int64_t i = 0; i < batch_.gradient_accumulation; ++i) {
    Stopwatch watch;
    data_.loader().fill(state_.step, i, ranks.rank(), rows_);
    totals_.times.data += watch.seconds();
    if (updates_in_backward(config_) && i + 1 == batch_.gradient_accumulation)
      engine_->begin_update(update_options(1));
    const zero::LossSum part = engine_->backward(
        {.ids = rows_, .targets = {}, .rows = batch_.micro_batch, .seq = config_.data.seq_len}, i,
        state_.step * batch_.gradient_accumulation + i, static_cast<float>(state_.scaler.scale()));
    sum.loss_sum += part.loss_sum;
    sum.tokens += part.tokens;
  }
  return {ranks.all_reduce_sum(sum.loss_sum),
          static_cast<int64_t>(ranks.all_reduce_sum(static_cast<double>(sum.tokens)))};
}

void Trainer::update(StepRecord& record) {
  Stopwatch watch;
  const double scale = state_.scaler.scale();
  const zero::GradientNorm norm = engine_->gradient_norm(static_cast<float>(scale));
  totals_.times.norm += watch.restart();
  record.grad_norm = norm.norm;
  double unscale = 1;
  if (config_.dtype == DType::kF16) {
    const optim::ScaledStep scaled = finish_scaled_step(norm);
    record.loss_scale = scale;
    record.skipped = scaled.skip;
    unscale = scaled.inverse_scale;
  }
  if (!record.skipped) require_finite_step(record, norm);
  const zero::UpdateOptions options = update_options(unscale * clip_factor(norm.norm, config_.grad_clip));
  record.learning_rate = options.learning_rate;
  if (record.skipped)
    engine_->skip_update();
  else if (updates_in_backward(config_))
    engine_->end_update();
  else
    engine_->update(options);
  if (!record.skipped) ++state_.updates;
  totals_.times.phases[static_cast<size_t>(ComputePhase::kUpdate)] += watch.seconds();
}

/// fp16. Throws where no later step would do better than this one.
optim::ScaledStep Trainer::finish_scaled_step(const zero::GradientNorm& norm) {
  optim::ScaledStep scaled = state_.scaler.finish_step(norm.non_finite > 0);
  if (scaled.stuck.empty()) return scaled;
  const char* first =
      state_.scaler.dynamic() ? "--dtype bf16, or " : "a smaller --loss-scale, --dtype bf16, or ";
  throw Error(fmt::format("step {}: gradient of {}", state_.step + 1, norm.first_non_finite),
              "infinity or NaN " + scaled.stuck, std::string(first) + kFiniteAdvice);
}

void Trainer::require_finite_step(const StepRecord& record, const zero::GradientNorm& norm) {
  if (norm.non_finite > 0)
    throw Error(fmt::format("step {}: gradient of {}", record.step, norm.first_non_finite),
                fmt::format("infinity or NaN ({} elements of all gradients)", norm.non_finite),
                kFiniteAdvice);
  if (!std::isfinite(record.loss))
    throw Error(fmt::format("step {}: loss", record.step), fmt::format("{}", record.loss), kFiniteAdvice);
}

/// Or "" where all are finite.
std::string Trainer::first_non_finite_parameter() {
  std::string name;
  engine_->for_each_parameter([&](const autograd::Parameter& parameter, const ConstTensorView& values) {
    if (name.empty() && !all_finite(values)) name = parameter.name;
  });
  return name;
}

/// Of the update that comes next.
zero::UpdateOptions Trainer::update_options(double gradient_scale) const {
  const int64_t step = state_.updates + 1;
  return {.step = step,
          .learning_rate = schedule_.learning_rate(step),
          .weight_decay = config_.optimizer.weight_decay,
          .gradient_scale = static_cast<float>(gradient_scale),
          .betas = schedule_.betas(step)};
}

void Trainer::evaluate_now() {
  if (data_.eval_loader() == nullptr) return;
  last_eval_ = evaluate(*engine_, *data_.eval_loader(), config_.data.seq_len, data_.eval().tokens_per_byte());
  if (interrupted()) return last_eval_.reset();
  last_eval_->step = state_.step;
  if (!std::isfinite(last_eval_->loss)) {
    const std::string name = first_non_finite_parameter();
    throw Error(fmt::format("step {}: evaluation{}", state_.step, name.empty() ? "" : ", parameter " + name),
                fmt::format("a loss of {}", last_eval_->loss), kFiniteAdvice);
  }
  log([&](MetricsLog& file) { file.evaluation(*last_eval_); });
  reporter_.evaluation(*last_eval_);
  totals_.times.evaluation += last_eval_->seconds;
}

void Trainer::save_now() {
  const Stopwatch watch;
  save_checkpoint(output_.path(), *engine_, state_, fingerprint_, disk_.calls);
  if (config_.save.save_total_limit > 0)
    checkpoint::remove_old_checkpoints(output_.path(), state_.step, config_.save.save_total_limit,
                                       disk_.calls);
  totals_.times.checkpoints += watch.seconds();
}

void Trainer::finish() {
  const Stopwatch watch;
  save_model({.setup = setup_,
              .engine = *engine_,
              .dtype = config_.dtype,
              .step = state_.step,
              .tokenizer = tokenizer_directory(config_),
              .output = output_.path(),
              .calls = disk_.calls});
  FinishedRun run{.steps = state_.step, .loss = state_.loss};
  if (last_eval_) {
    run.eval_loss = last_eval_->loss;
    run.eval_nats_per_byte = last_eval_->nats_per_byte;
  }
  output_.finish(run);
  totals_.times.checkpoints += watch.seconds();
  report();
}

void Trainer::report() {
  console_.finish();
  totals_.seconds = run_watch_.seconds();
  totals_.peaks = read_peaks(runtime_.device(), runtime_.nvme());
  totals_.model_state_bytes = model_state_bytes(setup_.spec, config_.dtype, *rule_);
  for (const std::string& line : summary_lines(totals_)) console_.line(line);
  if (config_.log.profile) report_profile();
  console_.note("saved the model in {}", output_.path().string());
}

/// The run is over and saved: where there is no room to measure, it does not fail.
void Trainer::report_profile() {
  engine_.reset();  // the ceilings need memory, too
  try {
    const Ceilings ceilings = measure_ceilings(runtime_.engine_context(), setup_.spec, config_.dtype,
                                               batch_.micro_batch * config_.data.seq_len);
    for (const std::string& line : profile_lines(totals_, runtime_.device().profile(), ceilings))
      console_.line(line);
  } catch (const Error& error) {
    console_.warning(fmt::format("no profile: {}", error.what()));
  }
}

}  // namespace

Outcome train(const TrainConfig& config, Console& console, const Disk& disk) {
  const OutputDir output(config.save.output_dir, disk.calls);
  output.create();
  const io::DirectoryLock lock(output.path());
  output.check(config);  // what a run before this one has left: nobody changes it from here on
  try {
    return Trainer(config, console, disk).run();
  } catch (const Interrupted&) {
    console.note("interrupted before the first step of this run: nothing new to save in {}",
                 config.save.output_dir.string());
    return Outcome::kInterrupted;
  }
}

}  // namespace aleph::train
