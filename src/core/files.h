// Whole-file reading and atomic writing.
#pragma once
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace dvlm {

// Throws Error when the file is missing, unreadable, larger than `limit` bytes or a pointer of Git LFS. A
// pipe is read to its end; one that nobody writes to is refused, not waited for.
std::string read_file(const std::filesystem::path& path, size_t limit = size_t{1} << 30);

// Calls `take` with the lines of a file, without their ends, and their numbers from 1, until it returns
// false. Throws Error as read_file does, and for a line that is longer than `longest` bytes.
void read_lines(const std::filesystem::path& path, const std::function<bool(int, std::string_view)>& take,
                size_t longest = size_t{64} << 20);

// A regular file, open for reading: pipes and devices might never end. Throws Error naming the path.
class InputFile {
 public:
  explicit InputFile(const std::filesystem::path& path);
  InputFile(std::filesystem::path path, int descriptor);  // open already, and closed in any case
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  const std::filesystem::path& path() const { return path_; }
  int descriptor() const { return descriptor_; }
  size_t size() const { return size_; }
  size_t read(void* to, size_t bytes, size_t offset) const;  // fewer than `bytes` at the end only
  // For libraries that open by name: leads to this very file, whatever has taken its place since.
  std::filesystem::path reopened() const;

 private:
  std::filesystem::path path_;
  const int descriptor_;
  size_t size_ = 0;
};

// The same for a file that is open; no pipe.
std::string read_file(const InputFile& file, size_t limit = size_t{1} << 30);

// What distinguishes a file from others and from what it was, as a line: name, size, inode and time of
// change. "" when it is not there.
std::string file_identity(const std::filesystem::path& path);

// Tells contents apart, whatever the names and dates of files: large ones by their size, both ends and a
// thousand places between.
uint64_t fingerprint(std::string_view content);
std::string fingerprint_of_file(const std::filesystem::path& path);  // "" where there is none
// Of all files in a folder whose names end in one of these.
std::string fingerprint_of_files(const std::filesystem::path& folder,
                                 std::initializer_list<std::string_view> endings);

// Throws Error where the bytes of a file are the few lines that Git LFS leaves in place of what it did not
// download.
void refuse_lfs_pointer(std::string_view content, const std::filesystem::path& path);

// Makes the folder and those above it, where they are not there yet. Throws Error naming the path.
void make_folder(const std::filesystem::path& path);

// Writes beside the target, flushes to the disk and renames: readers, and whoever comes after a power cut,
// see the old file or the new one, never half of it. What writers of this file left that were killed before
// this process first wrote to its folder is removed. Throws Error naming the path.
void write_file(const std::filesystem::path& path, std::string_view content);

// Adds a line, with its end, to a file that need not be there yet. Who reads after a crash may find it half,
// see drop_torn_line(). Throws Error naming the path.
void append_line(const std::filesystem::path& path, std::string_view line);

// Removes what stands behind the last end of a line. Throws Error naming the path.
void drop_torn_line(const std::filesystem::path& path);

// The same for what is written in pieces.
class FileWriter {
 public:
  explicit FileWriter(std::filesystem::path path);
  ~FileWriter();  // without commit() the target stays as it was
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  void append(const void* data, size_t bytes);
  void append(std::string_view text) { append(text.data(), text.size()); }
  void commit();

 private:
  [[noreturn]] void fail_to_write() const;
  std::filesystem::path path_, partial_;
  FILE* file_ = nullptr;
};

}  // namespace dvlm
