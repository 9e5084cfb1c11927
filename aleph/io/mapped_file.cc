#include "aleph/io/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "aleph/base/error.h"
#include "aleph/io/file.h"

namespace aleph::io {

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path.string()) {
  const File file = File::open_read(path);
  const auto size = static_cast<size_t>(file.size());
  if (!std::filesystem::is_regular_file(path)) throw Error(path_, "no regular file", "a regular file");
  if (size == 0) return;
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.descriptors().buffered, 0);
  if (address == MAP_FAILED)
    throw Error(path_, std::generic_category().message(errno), fmt::format("{} bytes to map", size));
  bytes_ = {static_cast<const std::byte*>(address), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::advise(int64_t offset, int64_t bytes, int advice) const {
  const auto size = static_cast<int64_t>(bytes_.size());
  ALEPH_CHECK(offset >= 0 && bytes >= 0 && offset <= size && bytes <= size - offset, "bytes {}+{} of {}",
              offset, bytes, size);
  const int64_t page = ::sysconf(_SC_PAGESIZE);
  const int64_t begin = offset / page * page;
  if (bytes > 0)
    ::madvise(const_cast<std::byte*>(bytes_.data()) + begin, static_cast<size_t>(offset + bytes - begin),
              advice);
}

void MappedFile::prefetch(int64_t offset, int64_t bytes) const { advise(offset, bytes, MADV_WILLNEED); }

void MappedFile::release(int64_t offset, int64_t bytes) const { advise(offset, bytes, MADV_DONTNEED); }

}  // namespace aleph::io
