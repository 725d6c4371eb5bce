// Arguments in guarded memory: while a kernel runs, its arrays are copies that end where an unreadable page begins or,
// in the other mode, begin where one ends. The first access outside is a fault, whose error names the thread.
//
// The memory between a copy and the page on its other side is filled with NaN; if it has changed after the launch, the
// kernel wrote there. Arrays that overlap on the host, as in operations in place, overlap in the copies too.
#pragma once
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <vector>

#include "../abi.h"
#include "fibers.h"

namespace emulator {

constexpr uint32_t NAN_WORD = 0x7ff85a5a;  // NaN as float and, twice, as double
constexpr size_t NO_MANS_LAND = 1 << 20;   // unreadable bytes on either side: most wild accesses end here

inline void fill_with_nan(char* begin, char* end) {
  for (; begin + 4 <= end; begin += 4) memcpy(begin, &NAN_WORD, 4);
  memset(begin, 0xff, end - begin);
}

inline bool still_nan(const char* begin, const char* end) {
  for (; begin + 4 <= end; begin += 4)
    if (memcmp(begin, &NAN_WORD, 4) != 0) return false;
  for (; begin < end; begin++)
    if (*begin != (char)0xff) return false;
  return true;
}

// Readable pages between unreadable ones.
struct Mapping {
  char* begin = nullptr;
  size_t bytes = 0;

  static Mapping make(size_t bytes) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char* all = (char*)mmap(nullptr, bytes + 2 * NO_MANS_LAND, PROT_NONE, flags, -1, 0);
    if (all == MAP_FAILED) abort();
    mprotect(all + NO_MANS_LAND, bytes, PROT_READ | PROT_WRITE);
    return {all + NO_MANS_LAND, bytes};
  }
  void unmap() { munmap(begin - NO_MANS_LAND, bytes + 2 * NO_MANS_LAND); }
  char* end() const { return begin + bytes; }
  char* end_aligned(size_t size) const { return end() - (size + 15) / 16 * 16; }
  bool near(const char* address) const { return address >= begin - NO_MANS_LAND && address < end() + NO_MANS_LAND; }
};

// Mappings are kept for the next launch, because making one takes longer than a small kernel.
class Pool {
 public:
  Mapping take(size_t bytes) {
    size_t size = PAGE;
    while (size < bytes) size *= 2;
    for (size_t i = free_.size(); i-- > 0;)
      if (free_[i].bytes == size) {
        Mapping found = free_[i];
        free_.erase(free_.begin() + i);
        return found;
      }
    return Mapping::make(size);
  }
  void give_back(Mapping mapping) {
    if (free_.size() == 64) {
      free_.front().unmap();
      free_.erase(free_.begin());
    }
    free_.push_back(mapping);
  }

 private:
  std::vector<Mapping> free_;
};

// A range of host memory that is copied in one piece: an array, or several that overlap.
struct Region {
  char *host, *host_end;
  const char* name;
  size_t alignment;
  bool writable;
  Mapping mapping;
  char* copy = nullptr;

  Region(char* host, size_t bytes, const char* name, size_t alignment, bool writable)
      : host(host), host_end(host + bytes), name(name), alignment(alignment), writable(writable) {}

  size_t bytes() const { return host_end - host; }
  char* copy_end() const { return copy + bytes(); }
  // The filled bytes around the copy; at most a page of them is checked.
  char* before() const { return std::max(mapping.begin, copy - PAGE); }
  char* behind() const { return std::min(mapping.end(), copy_end() + PAGE); }

  void copy_in(Pool& pool, bool guard_end) {
    mapping = pool.take(bytes() + alignment);
    copy = guard_end ? mapping.end() - bytes() : mapping.begin;
    const size_t offset = (size_t)(copy - host) % alignment;  // the copy is aligned as the original is
    if (offset) copy += guard_end ? -(ptrdiff_t)offset : (ptrdiff_t)(alignment - offset);
    memcpy(copy, host, bytes());
    fill_with_nan(before(), copy);
    fill_with_nan(copy_end(), behind());
  }
};

class Arguments {
 public:
  Arguments(const Argument* arguments, int count, bool guard_end) : guard_end_(guard_end) {
    for (int i = 0; i < count; i++) collect(arguments[i]);
    merge();
    for (Region& region : regions_) region.copy_in(pool(), guard_end_);
    values_.resize(count);
    for (int i = 0; i < count; i++) values_[i] = device_value(arguments[i]);
    for (int i = 0; i < count; i++)
      addresses_.push_back(arguments[i].passing == Passing::Struct ? (void*)arguments[i].value : &values_[i]);
  }
  ~Arguments() {
    for (Region& region : regions_) pool().give_back(region.mapping);
  }
  Arguments(const Arguments&) = delete;

  // One address per parameter, as the kernel expects them.
  void** addresses() { return addresses_.data(); }

  const Region* near(const char* address) const {
    for (const Region& region : regions_)
      if (region.mapping.near(address)) return &region;
    return nullptr;
  }

  // The name of an array outside of which the kernel wrote, or null.
  const char* written_beside() const {
    for (const Region& r : regions_)
      if (!still_nan(r.before(), r.copy) || !still_nan(r.copy_end(), r.behind())) return r.name;
    return nullptr;
  }

  void copy_out() const {
    for (const Region& r : regions_)
      if (r.writable) memcpy(r.host, r.copy, r.bytes());
  }

 private:
  static Pool& pool() {
    static Pool shared;
    return shared;
  }

  void collect(const Argument& a) {
    if (a.passing == Passing::Array) regions_.emplace_back((char*)a.value, a.bytes, a.name, a.alignment, a.writable);
    if (a.passing != Passing::Table) return;
    const Argument* elements = (const Argument*)a.value;
    for (int64_t i = 0; i < a.bytes; i++) collect(elements[i]);
    tables_.emplace_back(a.bytes);
    regions_.emplace_back((char*)tables_.back().data(), a.bytes * sizeof(uint64_t), a.name, sizeof(uint64_t), false);
  }

  void merge() {
    std::sort(regions_.begin(), regions_.end(), [](const Region& a, const Region& b) { return a.host < b.host; });
    std::vector<Region> merged;
    for (const Region& region : regions_) {
      if (merged.empty() || region.host >= merged.back().host_end) {
        merged.push_back(region);
        continue;
      }
      Region& last = merged.back();
      last.host_end = std::max(last.host_end, region.host_end);
      last.alignment = std::max(last.alignment, region.alignment);
      last.writable |= region.writable;
    }
    regions_ = merged;
  }

  uint64_t device_address(uint64_t host, int64_t bytes) const {
    for (const Region& r : regions_)
      if ((char*)host >= r.host && (char*)host + bytes <= r.host_end) return (uint64_t)(r.copy + ((char*)host - r.host));
    return host;
  }

  uint64_t device_value(const Argument& a) {
    if (a.passing == Passing::Array) return device_address(a.value, a.bytes);
    if (a.passing != Passing::Table) return a.value;
    const uint64_t host = (uint64_t)tables_[next_table_++].data();
    uint64_t* table = (uint64_t*)device_address(host, a.bytes * sizeof(uint64_t));
    const Argument* elements = (const Argument*)a.value;
    for (int64_t i = 0; i < a.bytes; i++) table[i] = device_value(elements[i]);
    return (uint64_t)table;
  }

  bool guard_end_;
  std::vector<Region> regions_;
  std::vector<std::vector<uint64_t>> tables_;
  size_t next_table_ = 0;
  std::vector<uint64_t> values_;
  std::vector<void*> addresses_;
};

}  // namespace emulator
