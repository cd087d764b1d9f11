// Aligned buffers and memory-mapped files.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <type_traits>

namespace dvlm {

// A 64-byte aligned array of trivially copyable elements whose size is fixed at construction; zero-filled.
template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Buffer() = default;
  explicit Buffer(size_t size) : size_(size), data_(allocate(size)) {}

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return data_.get()[i]; }
  const T& operator[](size_t i) const { return data_.get()[i]; }
  std::span<T> span() { return {data_.get(), size_}; }
  std::span<const T> span() const { return {data_.get(), size_}; }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  static T* allocate(size_t size) {
    if (size == 0) return nullptr;
    const size_t bytes = (size * sizeof(T) + 63) / 64 * 64;
    void* p = std::aligned_alloc(64, bytes);
    if (!p) throw std::bad_alloc();
    std::memset(p, 0, bytes);
    return static_cast<T*>(p);
  }
  size_t size_ = 0;
  std::unique_ptr<T[], Free> data_;
};

// A whole regular file, mapped read-only. Throws Error naming the path when it cannot be opened or mapped.
// Who reads what the file has lost since, or what its disk cannot give, gets SIGBUS, see
// explain_lost_files().
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// For programs: SIGBUS from a mapped file ends the process with status 1 and a sentence that names the file.
void explain_lost_files();

std::string bytes_text(double bytes);  // "1.5 GiB"

size_t peak_rss_bytes();  // of this process, so far

}  // namespace dvlm
