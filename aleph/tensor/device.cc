#include "aleph/tensor/device.h"

namespace aleph {
namespace {

MemoryPool::Backing backing(DeviceKind kind) {
  return kind == DeviceKind::kMeta ? MemoryPool::Backing::kMeta : MemoryPool::Backing::kReal;
}

}  // namespace

DeviceContext::DeviceContext(const Options& options)
    : kind_(options.kind),
      device_memory_(MemoryTier::kDevice, options.device_budget_bytes, backing(options.kind)),
      host_memory_(MemoryTier::kHost, options.host_budget_bytes, backing(options.kind)),
      copy_(options.kind == DeviceKind::kMeta ? Stream::Mode::kInline : Stream::Mode::kThread) {}

}  // namespace aleph
